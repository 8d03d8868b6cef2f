"""A gate before the simulator's REST API: it writes down what is asked, and holds what a test wants held."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_HOP_BY_HOP = {"Content-Length", "Content-Encoding", "Transfer-Encoding", "Connection", "Date", "Server"}


class RestGate:
    """`asked`: the paths that were asked for, below the API's version. `url` is for `GW_REST_URL`."""

    def __init__(self, target: str, session: aiohttp.ClientSession) -> None:
        self.url = ""
        self.asked: list[str] = []
        self._target = target
        self._session = session
        self._held: dict[str, asyncio.Event] = {}

    def hold(self, path: str) -> None:
        """Let no answer to `path` through until it is let go."""
        self._held[path] = asyncio.Event()

    def let_go(self, path: str) -> None:
        """Answer it, now and from now on."""
        self._held.pop(path).set()

    def count(self, path: str) -> int:
        """How often it was asked for."""
        return self.asked.count(path)

    async def until_asked(self, path: str, *, count: int = 1) -> None:
        await eventually(lambda: self.count(path) >= count)

    async def serve(self, request: web.Request) -> web.Response:
        path = request.path.removeprefix("/api/v10")
        self.asked.append(path)
        held = self._held.get(path)
        if held is not None:
            await held.wait()
        headers = {"Authorization": request.headers.get("Authorization", "")}
        url = f"{self._target}{request.path_qs.removeprefix('/api/v10')}"
        async with self._session.request(request.method, url, headers=headers, data=await request.read()) as answer:
            kept = {key: value for key, value in answer.headers.items() if key not in _HOP_BY_HOP}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


@contextlib.asynccontextmanager
async def rest_gate(target: str) -> AsyncIterator[RestGate]:
    """A gate before `target`, an API's URL with its version."""
    async with aiohttp.ClientSession() as session:
        gate = RestGate(target, session)
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", gate.serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            gate.url = f"http://{host}:{port}/api/v10"
            yield gate
        finally:
            await runner.cleanup()
