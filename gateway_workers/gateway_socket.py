"""A websocket to Discord: whole frames in, payloads out."""

from __future__ import annotations

import asyncio

import aiohttp
from yarl import URL

from gateway_workers.inflate import Compression, inflater

OPEN_TIMEOUT_S = 15.0
SEND_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 2.0
GATEWAY_VERSION = 10

_CLOSED = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)


class SocketUnansweredError(Exception):
    """Nobody opened a websocket at the URL."""


class SocketClosedError(Exception):
    """The websocket ended; `code` is Discord's, None without one."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"{reason} (code {code})" if code else reason)
        self.code = code


class GatewaySocket:
    """One open websocket; made by `open()`."""

    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, compression: Compression) -> None:
        self._websocket = websocket
        self._inflater = inflater(compression)
        self._is_closing = False

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, url: str, compression: Compression) -> GatewaySocket:
        """Connect to `url` with this gateway version. Raises SocketUnansweredError."""
        query = {"v": str(GATEWAY_VERSION), "encoding": "json"}
        if compression is not Compression.NONE:
            query["compress"] = compression.value
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                websocket = await http.ws_connect(
                    URL(url).update_query(query),
                    max_msg_size=0,
                    autoclose=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT_S),
                )
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise SocketUnansweredError(f"{url} did not open a websocket: {_described(error)}") from error
        return cls(websocket, compression)

    async def frame(self) -> bytes:
        """The next whole frame. Raises SocketClosedError, or InflateError if the compressed stream is broken."""
        while True:
            if self._is_closing:
                # aiohttp's receive() would close with 1000, which ends the session, if it came before our own close.
                raise SocketClosedError(None, "closed by us")
            message = await self._websocket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                frame = self._inflater.feed(message.data)
                if frame is not None:
                    return frame
            elif message.type is aiohttp.WSMsgType.TEXT:
                return str(message.data).encode()
            elif message.type in _CLOSED:
                raise SocketClosedError(self._close_code(message), str(message.extra or "closed"))
            elif message.type is aiohttp.WSMsgType.ERROR:
                raise SocketClosedError(None, f"connection lost: {message.data!r}")

    def _close_code(self, message: aiohttp.WSMessage) -> int | None:
        code = message.data if message.type is aiohttp.WSMsgType.CLOSE else self._websocket.close_code
        return code if isinstance(code, int) and code >= 4000 else None

    async def send(self, payload: bytes) -> None:
        """Send one payload. Raises SocketClosedError."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._websocket.send_frame(payload, aiohttp.WSMsgType.TEXT)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SocketClosedError(None, f"could not send: {_described(error)}") from error

    async def close(self, code: int) -> None:
        """Close with `code`, within a bound; harmless when already closed."""
        self._is_closing = True
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S + 1):
                await self._websocket.close(code=code)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return  # the other side is gone: so is the connection


def _described(error: Exception) -> str:
    """Not its `repr`: with aiohttp's errors that has the headers and the login of a proxy."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
