"""A simulated REST API on loopback, with a hikari client and a bare HTTP client for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import hikari
import orjson
from aiohttp.test_utils import TestClient, TestServer

from gateway_sim.interactions import make_interaction
from gateway_sim.rest import RestApi, RestJournal
from gateway_sim.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway_sim.dispatch import Dispatch

TOKEN = "MTIz.abc.def"
LIMIT = {"total": 1000, "remaining": 900, "reset_after": 14_400_000, "max_concurrency": 2}


class Rest:
    """What a test of the REST API works with."""

    def __init__(self, world: World, **options: Any) -> None:
        self.world = world
        self.journal = RestJournal()
        self.dispatches: list[Dispatch] = []
        self.api = RestApi(
            world,
            gateway_url=lambda: "ws://gateway.test",
            session_start_limit=lambda: LIMIT,
            recommended_shards=lambda: 3,
            journal=self.journal,
            on_dispatch=self.dispatches.append,
            **options,
        )
        self.http: TestClient[Any, Any]

    async def call(self, method: str, path: str, *, token: str | None = TOKEN, **kwargs: Any) -> tuple[int, Any]:
        """One request below /api/v10: the status and the JSON body."""
        headers = {} if token is None else {"Authorization": f"Bot {token}"}
        async with self.http.request(method, f"/api/v10{path}", headers=headers, **kwargs) as response:
            raw = await response.read()
            return response.status, orjson.loads(raw) if raw else None

    async def interact(self, kind: str = "slash", **options: Any) -> dict[str, Any]:
        """The payload of a fresh interaction."""
        payload: dict[str, Any] = orjson.loads(make_interaction(self.world, kind, **options).data)
        return payload

    async def answer(self, payload: dict[str, Any], body: Any, query: str = "") -> tuple[int, Any]:
        """Answer an interaction."""
        path = f"/interactions/{payload['id']}/{payload['token']}/callback{query}"
        return await self.call("POST", path, token=None, json=body)

    @asynccontextmanager
    async def hikari(self, token: str = TOKEN) -> AsyncIterator[hikari.api.RESTClient]:
        """hikari's own REST client, pointed here."""
        app = hikari.RESTApp(url=str(self.http.make_url("/api/v10")))
        await app.start()
        try:
            async with app.acquire(token, "Bot") as client:
                yield client
        finally:
            await app.close()

    def sent(self) -> list[str]:
        """The types of the events that calls caused."""
        return [dispatch.type for dispatch in self.dispatches]


@asynccontextmanager
async def running(world: World, **options: Any) -> AsyncIterator[Rest]:
    """A REST API that listens on loopback."""
    rest = Rest(world, **options)
    async with TestClient(TestServer(rest.api.app())) as client:
        rest.http = client
        yield rest
