"""Transport compression of the gateway: one context per connection.

Source: https://discord.com/developers/docs/events/gateway#transport-compression
"""

from __future__ import annotations

import sys
import zlib
from enum import StrEnum
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ZLIB_SUFFIX = b"\x00\x00\xff\xff"


class Compression(StrEnum):
    """What a worker asks Discord for; the value is the query parameter's."""

    NONE = "none"
    ZLIB = "zlib-stream"
    ZSTD = "zstd-stream"


class InflateError(ValueError):
    """The compressed stream is broken: only a new connection helps."""


class Inflater(Protocol):
    """Turns websocket messages into gateway frames."""

    def feed(self, data: bytes) -> bytes | None:
        """The frame that `data` completes, or None if more must come. Raises InflateError."""
        ...


class _Plain:
    def feed(self, data: bytes) -> bytes | None:
        return data


class _Zlib:
    def __init__(self) -> None:
        self._context = zlib.decompressobj()
        self._buffer = bytearray()

    def feed(self, data: bytes) -> bytes | None:
        self._buffer += data
        if not self._buffer.endswith(_ZLIB_SUFFIX):
            return None
        try:
            return self._context.decompress(bytes(self._buffer))
        except zlib.error as error:
            raise InflateError(f"the zlib stream is broken: {error}") from error
        finally:
            self._buffer.clear()


class _Zstd:
    def __init__(self) -> None:
        self._context = zstd.ZstdDecompressor()

    def feed(self, data: bytes) -> bytes | None:
        try:
            return self._context.decompress(data)
        except (zstd.ZstdError, EOFError) as error:
            raise InflateError(f"the zstd stream is broken: {error}") from error


def inflater(compression: Compression) -> Inflater:
    """A fresh context for one connection."""
    if compression is Compression.ZLIB:
        return _Zlib()
    if compression is Compression.ZSTD:
        return _Zstd()
    return _Plain()
