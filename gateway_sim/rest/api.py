"""Serves Discord's REST API over HTTP: reads a request, lets a handler decide, writes the reply and the journal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateway_sim.rest import bot_routes, channel_routes, command_routes, guild_routes, interaction_routes
from gateway_sim.rest.body import MOST_BYTES, read_body
from gateway_sim.rest.call import Backend, Call, Reply
from gateway_sim.rest.errors import DiscordError, http_error
from gateway_sim.rest.journal import RestJournal, RestRequest
from gateway_sim.rest.rate_limits import RateLimits
from gateway_sim.rest.router import Match, Router, strip_prefix

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway_sim.dispatch import Dispatch
    from gateway_sim.world import World

_READ_WITHIN_S = 30.0
ROUTES = (
    *interaction_routes.ROUTES,
    *bot_routes.ROUTES,
    *command_routes.ROUTES,
    *channel_routes.ROUTES,
    *guild_routes.ROUTES,
)


class RestApi:
    """Discord's REST API for the bot of `world`, below `/api/v10`, `/api/v9`, `/api`, `/v10` and nothing.

    `gateway_url`, `session_start_limit` and `recommended_shards` are asked at each `GET /gateway/bot`. `on_dispatch`
    gets the events that calls cause (MESSAGE_CREATE, …). At most `rate_limit` requests per `rate_window_s` seconds for
    each route and major parameter, then 429.
    """

    def __init__(
        self,
        world: World,
        *,
        gateway_url: Callable[[], str],
        session_start_limit: Callable[[], dict[str, Any]],
        recommended_shards: Callable[[], int],
        journal: RestJournal,
        on_dispatch: Callable[[Dispatch], None],
        rate_limit: int = 50,
        rate_window_s: float = 1.0,
    ) -> None:
        self.rate_limits = RateLimits(rate_limit, rate_window_s)
        self._world = world
        self._journal = journal
        self._backend = Backend(world, journal, on_dispatch, gateway_url, session_start_limit, recommended_shards)
        self._router = Router(ROUTES)

    def app(self) -> web.Application:
        """The aiohttp application; it may be run once."""
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        return app

    async def _serve(self, request: web.Request) -> web.Response:
        headers: dict[str, str] = {}
        body: Any = None
        try:
            match = self._match(request)
            self._authorize(request, match)
            self._limit(match, headers)
            async with asyncio.timeout(_READ_WITHIN_S):
                body, uploads = await read_body(request)
            reply = match.route.handler(Call(self._backend, match.params, request.query, body, uploads))
        except DiscordError as error:
            reply = Reply(error.status, error.body)
        at = self._world.clock()
        self._journal.record(RestRequest(request.method, request.path_qs, body, reply.status, at))
        return _response(reply, headers)

    def _match(self, request: web.Request) -> Match:
        try:
            return self._router.match(request.method, strip_prefix(request.path))
        except DiscordError as error:
            if error.status == 404:
                self._journal.record_unknown_route(request.method, request.path)
            raise

    def _authorize(self, request: web.Request, match: Match) -> None:
        if match.route.auth and request.headers.get("Authorization") != f"Bot {self._world.bot_token}":
            raise http_error(401, "Unauthorized")

    def _limit(self, match: Match, headers: dict[str, str]) -> None:
        if not match.route.limited:
            return
        allowance = self.rate_limits.take(match.name, match.major, self._world.clock())
        headers |= allowance.headers
        if allowance.retry_after_s is not None:
            error = DiscordError(429, 0, "You are being rate limited.")
            error.body = {"message": error.body["message"], "retry_after": allowance.retry_after_s, "global": False}
            raise error


def _response(reply: Reply, headers: dict[str, str]) -> web.Response:
    if reply.body is None:
        return web.Response(status=reply.status, headers=headers)
    return web.Response(
        status=reply.status, headers=headers, body=orjson.dumps(reply.body), content_type="application/json"
    )
