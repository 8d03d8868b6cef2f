"""Transport compression of one connection: none, zlib-stream, zstd-stream, and per-payload zlib."""

from __future__ import annotations

import sys
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from gateway_sim.envelope import BINARY, TEXT, frames

if TYPE_CHECKING:
    from collections.abc import Sequence

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZLIB_SUFFIX = b"\x00\x00\xff\xff"

_ZLIB_LEVEL = 1
_ZSTD_LEVEL = 1
_SPLIT_BYTES = 16 * 1024
_SPLIT_EVERY = 64
_PAYLOAD_ZLIB_BYTES = 8 * 1024


class Encoder(Protocol):
    """Turns payloads into websocket frames; one per connection, for its whole life."""

    def encode(self, payloads: Sequence[bytes]) -> bytes:
        """Return the frames of the payloads, in order."""


class PlainEncoder:
    """No compression: one text message per payload."""

    def encode(self, payloads: Sequence[bytes]) -> bytes:
        """Return the frames of the payloads, in order."""
        return frames(TEXT, payloads)


class PayloadZlibEncoder:
    """`compress: true` of Identify: large payloads come as binary messages, each a zlib stream of its own."""

    def encode(self, payloads: Sequence[bytes]) -> bytes:
        """Return the frames of the payloads, in order."""
        return b"".join(
            frames(TEXT, [payload])
            if len(payload) < _PAYLOAD_ZLIB_BYTES
            else frames(BINARY, [zlib.compress(payload, _ZLIB_LEVEL)])
            for payload in payloads
        )


class ZlibStreamEncoder:
    """zlib-stream: one deflate context; a payload ends with 00 00 FF FF and may come in several messages.

    Payloads beyond 16 KiB are split, and of the small ones every 64th, so that every client meets a split soon.
    """

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(_ZLIB_LEVEL)
        self._until_split = _SPLIT_EVERY

    def encode(self, payloads: Sequence[bytes]) -> bytes:
        """Return the frames of the payloads, in order."""
        compress, flush = self._deflate.compress, self._deflate.flush
        messages: list[bytes] = []
        for payload in payloads:
            data = compress(payload) + flush(zlib.Z_SYNC_FLUSH)
            self._until_split -= 1
            if len(data) <= _SPLIT_BYTES and self._until_split:
                messages.append(data)
            else:
                messages.extend(self._split(data))
        return frames(BINARY, messages)

    def _split(self, data: bytes) -> list[bytes]:
        self._until_split = _SPLIT_EVERY
        size = _SPLIT_BYTES if len(data) > _SPLIT_BYTES else len(data) // 2
        # Discord's documented client looks for the suffix in the last message alone: it is never cut itself.
        last_cut = len(data) - len(ZLIB_SUFFIX)
        cuts = [0]
        for cut in range(size, last_cut + 1, size):
            whole = cut
            # A part that happens to end like a whole payload would be taken for one.
            while whole < last_cut and data[cuts[-1] : whole].endswith(ZLIB_SUFFIX):
                whole += 1
            cuts.append(whole)
        return [data[start:end] for start, end in pairwise([*cuts, len(data)]) if start < end]


class ZstdStreamEncoder:
    """zstd-stream: one context and one frame that never ends; each payload is a flushed block, one message."""

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(level=_ZSTD_LEVEL)

    def encode(self, payloads: Sequence[bytes]) -> bytes:
        """Return the frames of the payloads, in order."""
        compress = self._compressor.compress
        return frames(BINARY, [compress(payload, zstd.ZstdCompressor.FLUSH_BLOCK) for payload in payloads])


def encoder_for(compress: str) -> Encoder | None:
    """Return the encoder of the query's `compress` value ("" for none), or None if there is no such compression."""
    match compress:
        case "":
            return PlainEncoder()
        case "zlib-stream":
            return ZlibStreamEncoder()
        case "zstd-stream":
            return ZstdStreamEncoder()
        case _:
            return None
