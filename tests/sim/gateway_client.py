"""A bare gateway client for the simulator's own tests: says what it is told to, even what is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import zlib
from typing import Any

import aiohttp
from backports import zstd

TIMEOUT_S = 40.0
TOKEN = "NDE5NDMwNDAwMDAwNzY5MjMy.simulated.bot-token"
ALL_INTENTS = sum(1 << bit for bit in range(17))
_CLOSED = {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR}


class GatewayClosedError(Exception):
    """The gateway closed the connection; `code` is None when it was cut."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class GatewayClient:
    """One connection: use as an async context manager."""

    def __init__(self, url: str, *, compress: str = "", query: str | None = None) -> None:
        suffix = f"&compress={compress}" if compress else ""
        self.url = f"{url}/?{query if query is not None else f'v=10&encoding=json{suffix}'}"
        self.compress = compress
        self.messages_read = 0
        self.seq: int | None = None
        self.session_id = ""
        self.resume_url = ""
        self._inflate = zlib.decompressobj()
        self._unzstd = zstd.ZstdDecompressor()

    async def __aenter__(self) -> GatewayClient:
        self._http = aiohttp.ClientSession()
        try:
            self.ws = await asyncio.wait_for(
                self._http.ws_connect(self.url, max_msg_size=0, autoclose=False), TIMEOUT_S
            )
        except BaseException:
            await self._http.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def cut(self) -> None:
        """End the TCP connection without a close frame; the session can be resumed."""
        tcp = self.ws.get_extra_info("socket")
        if tcp is not None:
            with contextlib.suppress(OSError):
                tcp.shutdown(socket.SHUT_RDWR)
        await asyncio.wait_for(self.ws.close(code=4000), TIMEOUT_S)  # for aiohttp's books: nothing is sent any more
        await self._http.close()

    async def close(self, code: int) -> None:
        """Close with a code of the client's."""
        await asyncio.wait_for(self.ws.close(code=code), TIMEOUT_S)

    async def send(self, op: int, d: Any = None) -> None:
        await self.ws.send_str(json.dumps({"op": op, "d": d}))

    async def send_text(self, text: str) -> None:
        await self.ws.send_str(text)

    async def next_text(self) -> bytes:
        """Return the next payload, decompressed; raises GatewayClosedError."""
        buffer = b""
        while True:
            message = await asyncio.wait_for(self.ws.receive(), TIMEOUT_S)
            if message.type in _CLOSED:
                raise GatewayClosedError(
                    message.data if message.type is aiohttp.WSMsgType.CLOSE else None, message.extra
                )
            self.messages_read += 1
            if not self.compress:
                return message.data.encode()
            if self.compress == "zstd-stream":
                return self._unzstd.decompress(message.data)
            buffer += message.data
            if buffer.endswith(b"\x00\x00\xff\xff"):
                return self._inflate.decompress(buffer)

    async def next(self) -> dict[str, Any]:
        payload = json.loads(await self.next_text())
        if payload["op"] == 0:
            self.seq = payload["s"]
        return payload

    async def until(self, *, op: int = 0, t: str | None = None) -> dict[str, Any]:
        """Read on to the next payload with this opcode and type."""
        while True:
            payload = await self.next()
            if payload["op"] == op and (t is None or payload["t"] == t):
                return payload

    async def close_code(self) -> int | None:
        """Read on until the gateway closes."""
        try:
            while True:
                await self.next()
        except GatewayClosedError as closed:
            return closed.code

    async def identify(
        self, *, shard: tuple[int, int] | None = (0, 1), intents: Any = ALL_INTENTS, token: str = TOKEN, **more: Any
    ) -> None:
        await self.until(op=10)
        d = {"token": token, "intents": intents, "properties": {"os": "", "browser": "", "device": ""}, **more}
        await self.send(2, d | ({"shard": list(shard)} if shard else {}))

    async def start(self, **identify: Any) -> dict[str, Any]:
        """Identify and return the `d` of READY."""
        await self.identify(**identify)
        ready = (await self.until(t="READY"))["d"]
        self.session_id, self.resume_url = ready["session_id"], ready["resume_gateway_url"]
        return ready

    async def resume(self, session_id: str, seq: int, *, token: str = TOKEN) -> None:
        await self.until(op=10)
        await self.send(6, {"token": token, "session_id": session_id, "seq": seq})

    async def beat(self) -> None:
        """Send a heartbeat and read on to its ACK."""
        await self.send(1, self.seq)
        await self.until(op=11)
