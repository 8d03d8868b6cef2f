"""A TCP proxy that tests put in front of a server, to cut, stall and refuse connections at will."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK_BYTES = 65536
CONNECT_TIMEOUT_S = 5


class TcpProxy:
    """Forwards `port` to a server; made by `tcp_proxy()`.

    `connection_count` counts the connections since the start; `sent_bytes` what clients sent through. With
    `chunk_delay_s` what clients send goes on slowly, in chunks of up to CHUNK_BYTES.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._is_refusing = False
        self.connected = asyncio.Condition()
        self.connection_count = 0
        self.sent_bytes = 0
        self.chunk_delay_s = 0.0
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def url(self, url: str) -> str:
        """`url`, led through the proxy."""
        parts = urlsplit(url)
        login = parts.netloc.rpartition("@")[0]
        return urlunsplit(
            parts._replace(netloc=f"{login}@127.0.0.1:{self.port}" if login else f"127.0.0.1:{self.port}")
        )

    def cut(self) -> None:
        """Reset every connection; new ones are welcome."""
        for writer in self._writers:
            writer.transport.abort()

    def stall(self) -> None:
        """Keep the connections, new ones too, and pass nothing on until `resume()`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass on what waited."""
        self._flowing.set()

    def refuse(self) -> None:
        """Reset every connection, and every new one until `accept()`."""
        self._is_refusing = True
        self.cut()

    def accept(self) -> None:
        """Let connections in again."""
        self._is_refusing = False

    async def until_connections(self, count: int) -> None:
        """Wait until `count` connections were opened since the start."""
        async with asyncio.timeout(20), self.connected:
            await self.connected.wait_for(lambda: self.connection_count >= count)

    async def close(self) -> None:
        self.refuse()
        self.resume()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the aborted transports learn of their end

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or self._is_refusing:
            writer.transport.abort()
            return
        self._tasks.add(task)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._writers |= both
        try:
            async with self.connected:
                self.connection_count += 1
                self.connected.notify_all()
            await asyncio.gather(self._pump(reader, far_writer, True), self._pump(far_reader, writer, False))
        except OSError:
            pass  # one side is gone, so the other must go
        finally:
            self._tasks.discard(task)
            self._writers -= both
            for one in both:
                one.transport.abort()
            await asyncio.sleep(0)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_outward: bool) -> None:
        while data := await reader.read(CHUNK_BYTES):
            await self._flowing.wait()
            if is_outward:
                await asyncio.sleep(self.chunk_delay_s)
                self.sent_bytes += len(data)
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("end of stream")


@contextlib.asynccontextmanager
async def tcp_proxy(url: str) -> AsyncIterator[TcpProxy]:
    """A running proxy in front of the server that `url` names."""
    parts = urlsplit(url)
    proxy = TcpProxy(parts.hostname or "127.0.0.1", parts.port or 5672)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
