"""The proxy of the chaos harness: what it does to a link."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from ops.chaos.tcp_proxy import TcpProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TIMEOUT_S = 10.0


class Echo:
    """A server that sends back what it gets; `ended` counts the connections that it saw end."""

    def __init__(self) -> None:
        self.ended = asyncio.Semaphore(0)
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1024):
                writer.write(data)
        self.ended.release()
        writer.transport.abort()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.url = f"amqp://user:word@127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with asyncio.timeout(TIMEOUT_S):
        yield echo
    server.close()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[TcpProxy]:
    async with TcpProxy(echo.url) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def client(proxy: TcpProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(proxy.url).port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


async def test_bytes_pass_both_ways_under_the_same_login(proxy: TcpProxy) -> None:
    assert urlsplit(proxy.url).username == "user"
    async with client(proxy) as (reader, writer):
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"


async def test_a_cut_ends_a_connection_for_both_sides_and_the_next_one_is_welcome(proxy: TcpProxy, echo: Echo) -> None:
    async with client(proxy) as (reader, writer):
        writer.write(b"ping")
        await reader.readexactly(4)
        proxy.cut()
        assert await _end_of(reader)
        await echo.ended.acquire()
    async with client(proxy) as (reader, writer):
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"


async def test_a_stall_holds_everything_back_until_it_flows_again(proxy: TcpProxy) -> None:
    async with client(proxy) as (reader, writer):
        proxy.stall()
        writer.write(b"ping")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.readexactly(4)
        proxy.flow()
        assert await reader.readexactly(4) == b"ping"


async def test_a_delay_holds_each_byte_back_for_its_time(proxy: TcpProxy) -> None:
    loop = asyncio.get_running_loop()
    async with client(proxy) as (reader, writer):
        proxy.delay(0.1)
        began_at = loop.time()
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        assert loop.time() - began_at >= 0.2  # there and back


async def test_a_half_open_connection_is_gone_for_the_server_and_stands_for_the_client(
    proxy: TcpProxy, echo: Echo
) -> None:
    async with client(proxy) as (reader, writer):
        writer.write(b"ping")
        await reader.readexactly(4)
        proxy.half_open()
        await echo.ended.acquire()
        writer.write(b"lost")
        await writer.drain()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await reader.read(1)
        proxy.end_half_open()
        assert await _end_of(reader)


async def _end_of(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True
