"""A TCP proxy for link faults: cuts, delays, stalls and half-open connections, on demand."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urlsplit, urlunsplit

CHUNK_BYTES = 65_536
QUEUE_CHUNKS = 64
CONNECT_TIMEOUT_S = 5.0


@dataclass(eq=False)
class _Pair:
    """A client's connection and ours to the server for it; half open once the server's is gone and it is not told."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    is_half_open: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def abort(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.near.transport.abort()
        self.far.transport.abort()


class TcpProxy:
    """`async with`: forwards a port of loopback to the server that `url` names."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 5672)
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay_s = 0.0
        self.url = url

    async def __aenter__(self) -> Self:
        parts = urlsplit(self.url)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        login = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{port}" if login else f"127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def cut(self) -> None:
        """Reset every connection; new ones are welcome."""
        for pair in tuple(self._pairs):
            pair.abort()

    def delay(self, seconds: float) -> None:
        """Hold every byte back for so long, in both directions; 0 lifts it."""
        self._delay_s = seconds

    def stall(self) -> None:
        """Pass nothing on, not even the end of a connection, until `flow()`; new connections hang."""
        self._flowing.clear()

    def flow(self) -> None:
        """Pass on what waited."""
        self._flowing.set()

    def half_open(self) -> None:
        """Close every connection towards the server and leave the clients in the belief that theirs stands."""
        for pair in self._pairs:
            pair.is_half_open = True
            pair.far.transport.abort()

    def end_half_open(self) -> None:
        """Reset the connections that `half_open` left behind, as a router would that learns of them."""
        for pair in tuple(self._pairs):
            if pair.is_half_open:
                pair.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                far_reader, far = await asyncio.open_connection(*self._target)
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        pair = _Pair(writer, far)
        self._pairs.add(pair)
        pair.tasks = [
            asyncio.create_task(self._forward(pair, reader, far), name="proxy to the server"),
            asyncio.create_task(self._forward(pair, far_reader, writer), name="proxy to the client"),
        ]
        try:
            await asyncio.wait(pair.tasks)
        finally:
            pair.abort()
            self._pairs.discard(pair)

    async def _forward(self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Move bytes one way; both directions end with the first end that is not to be hidden."""
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE_CHUNKS)
        writing = asyncio.create_task(self._write(pair, chunks, writer), name="proxy writing")
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    data = await reader.read(CHUNK_BYTES)
                except OSError:
                    data = b""
                if not data and pair.is_half_open and writer is pair.near:
                    return  # the server's side is gone, and the client is not told
                if not pair.is_half_open:
                    await chunks.put((loop.time() + self._delay_s, data))
                if not data:
                    break
            if pair.is_half_open:
                pair.abort()
            else:
                await writing
        finally:
            writing.cancel()

    async def _write(
        self, pair: _Pair, chunks: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_at, data = await chunks.get()
            await asyncio.sleep(max(0.0, due_at - loop.time()))
            await self._flowing.wait()
            if pair.is_half_open:
                continue
            if not data or writer.is_closing():
                pair.abort()
                return
            with contextlib.suppress(OSError):
                writer.write(data)
                await writer.drain()
