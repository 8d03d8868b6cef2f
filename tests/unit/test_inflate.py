"""Transport compression: every frame comes out whole, and a broken stream is said to be broken."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from gateway_workers.inflate import Compression, InflateError, inflater

if TYPE_CHECKING:
    from collections.abc import Callable

SUFFIX = b"\x00\x00\xff\xff"
frames = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=12)


def zlib_stream() -> Callable[[bytes], bytes]:
    context = zlib.compressobj()
    return lambda frame: context.compress(frame) + context.flush(zlib.Z_SYNC_FLUSH)


def zstd_stream() -> Callable[[bytes], bytes]:
    context = zstd.ZstdCompressor()
    return lambda frame: context.compress(frame, mode=zstd.ZstdCompressor.FLUSH_BLOCK)


@given(frames)
def test_plain_messages_are_the_frames(payloads: list[bytes]) -> None:
    context = inflater(Compression.NONE)
    assert [context.feed(payload) for payload in payloads] == payloads


@given(frames)
def test_each_zlib_message_gives_its_frame(payloads: list[bytes]) -> None:
    deflate, context = zlib_stream(), inflater(Compression.ZLIB)
    assert [context.feed(deflate(payload)) for payload in payloads] == payloads


@given(frames, st.data())
def test_a_split_zlib_message_gives_its_frame_with_the_last_piece(payloads: list[bytes], data: st.DataObject) -> None:
    deflate, context = zlib_stream(), inflater(Compression.ZLIB)
    for payload in payloads:
        message = deflate(payload)
        cuts = data.draw(st.lists(st.integers(0, len(message) - 1), max_size=4).map(sorted))
        pieces = [message[a:b] for a, b in zip([0, *cuts], [*cuts, len(message)], strict=True)]
        early = [
            piece for piece in range(len(pieces) - 1) if message[: sum(map(len, pieces[: piece + 1]))].endswith(SUFFIX)
        ]
        if early:
            continue  # a cut right behind bytes that look like an end: Discord does not cut there
        assert [context.feed(piece) for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert context.feed(pieces[-1]) == payload


@given(frames)
def test_each_zstd_message_gives_its_frame_though_the_zstd_frame_never_ends(payloads: list[bytes]) -> None:
    compress, context = zstd_stream(), inflater(Compression.ZSTD)
    assert [context.feed(compress(payload)) for payload in payloads] == payloads


def test_a_big_frame_comes_out_whole() -> None:
    big = bytes(range(256)) * 8000
    assert inflater(Compression.ZSTD).feed(zstd_stream()(big)) == big
    assert inflater(Compression.ZLIB).feed(zlib_stream()(big)) == big


@pytest.mark.parametrize("compression", [Compression.ZLIB, Compression.ZSTD])
def test_a_broken_stream_is_an_inflate_error(compression: Compression) -> None:
    with pytest.raises(InflateError, match="stream is broken"):
        inflater(compression).feed(b"no compressed stream" + SUFFIX)


@pytest.mark.parametrize(("compression", "stream"), [(Compression.ZLIB, zlib_stream), (Compression.ZSTD, zstd_stream)])
def test_a_stream_that_breaks_later_is_an_inflate_error(
    compression: Compression, stream: Callable[[], Callable[[bytes], bytes]]
) -> None:
    compress, context = stream(), inflater(compression)
    assert context.feed(compress(b"first")) == b"first"
    with pytest.raises(InflateError):
        context.feed(b"\xff" * 40 + SUFFIX)


def test_a_zstd_stream_that_was_ended_is_an_inflate_error() -> None:
    context = inflater(Compression.ZSTD)
    assert context.feed(zstd.compress(b"whole")) == b"whole"
    with pytest.raises(InflateError):
        context.feed(zstd.compress(b"another"))


def test_each_connection_begins_with_a_fresh_context() -> None:
    deflate = zlib_stream()
    assert inflater(Compression.ZLIB).feed(deflate(b"x" * 50)) == b"x" * 50
    with pytest.raises(InflateError):
        inflater(Compression.ZLIB).feed(deflate(b"x" * 50))
