"""The socket's own promise: whatever arrives while we close, the code that Discord sees is ours."""

from __future__ import annotations

import asyncio
import base64
import contextlib

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from gateway_workers.gateway_socket import GatewaySocket, SocketClosedError, SocketUnansweredError
from gateway_workers.inflate import Compression


@pytest.mark.parametrize("turns", range(4))
async def test_a_frame_that_arrives_with_our_close_does_not_make_it_1000(turns: int) -> None:
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[web.WebSocketResponse] = loop.create_future()
    code: asyncio.Future[int | None] = loop.create_future()

    async def gateway(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        opened.set_result(websocket)
        await websocket.receive()
        code.set_result(websocket.close_code)
        return websocket

    app = web.Application()
    app.router.add_get("/", gateway)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        socket = await GatewaySocket.open(http, str(server.make_url("/")), Compression.NONE)

        async def read() -> None:
            with contextlib.suppress(SocketClosedError):
                while True:
                    await socket.frame()

        async def close_after_turns() -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await socket.close(4900)

        reading = asyncio.create_task(read())
        websocket = await opened
        await asyncio.sleep(0.05)  # the reader waits for a frame
        await websocket.send_str("{}")  # in the socket's buffer before the event loop turns
        await asyncio.gather(asyncio.create_task(close_after_turns()), reading)

        assert await asyncio.wait_for(code, 10) == 4900


async def test_a_proxy_that_refuses_is_told_without_its_login(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    proxy = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = proxy.sockets[0].getsockname()[1]
    monkeypatch.setenv("WSS_PROXY", f"http://user:the-password@127.0.0.1:{port}")
    async with proxy, aiohttp.ClientSession(trust_env=True) as http:
        with pytest.raises(SocketUnansweredError, match="407") as raised:
            await GatewaySocket.open(http, "wss://gateway.discord.gg/", Compression.NONE)
    told = str(raised.value)
    assert "the-password" not in told
    assert base64.b64encode(b"user:the-password").decode() not in told
