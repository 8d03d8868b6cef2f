"""A gateway that misbehaves as gw-sim does not: a websocket server whose every word the test says itself."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Serve = Callable[[web.WebSocketResponse], Awaitable[None]]


def hello(interval_ms: int) -> str:
    return f'{{"t":null,"s":null,"op":10,"d":{{"heartbeat_interval":{interval_ms}}}}}'


READY = '{"t":"READY","s":1,"op":0,"d":{"session_id":"odd","resume_gateway_url":""}}'
ACK = '{"t":null,"s":null,"op":11,"d":null}'
BEAT = '{"t":null,"s":null,"op":1,"d":null}'


@contextlib.asynccontextmanager
async def odd_gateway(serve: Serve) -> AsyncIterator[str]:
    """`serve(websocket)` talks to each client; gives the ws:// URL."""

    async def handle(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await serve(websocket)
        return websocket

    app = web.Application()
    app.router.add_get("/", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"ws://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def read_for_ever(websocket: web.WebSocketResponse) -> None:
    """Until the client closes."""
    async for message in websocket:
        if message.type is WSMsgType.ERROR:
            return
    await asyncio.sleep(0)
