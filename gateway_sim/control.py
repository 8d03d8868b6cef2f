"""The control API: HTTP and JSON, for tests and demos to steer the simulator and to read its record."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from gateway_sim.verdict import verdict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from gateway_sim.actions import Actions
    from gateway_sim.gateway_state import GatewayState
    from gateway_sim.json_value import Json
    from gateway_sim.rest import RestJournal
    from gateway_sim.traffic_pump import TrafficPump

_MAX_BODY_BYTES = 8 * 1024 * 1024


class ControlApi:
    """Serves the routes that docs/simulator.md lists."""

    def __init__(self, state: GatewayState, actions: Actions, pump: TrafficPump, journal: RestJournal) -> None:
        self._state = state
        self._actions = actions
        self._pump = pump
        self._journal = journal

    def app(self) -> web.Application:
        """Return the application to serve."""
        app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[_errors_as_json])
        app.add_routes(
            [
                web.get("/verdict", self._verdict),
                web.get("/ledger", self._ledger),
                web.get("/sessions", self._sessions),
                web.get("/connections", self._connections),
                web.get("/rest", self._rest),
                web.get("/answers", self._answers),
                web.get("/commands", self._commands),
                web.get("/received", self._received),
                web.get("/traffic", self._traffic),
                web.post("/traffic", self._start_traffic),
                web.delete("/traffic", self._stop_traffic),
                web.post("/dispatch", self._dispatch),
                web.post("/interaction", self._interaction),
                web.post("/message", self._message),
                web.post("/faults", self._fault),
                web.delete("/faults", self._clear_faults),
            ]
        )
        return app

    async def _verdict(self, _: web.Request) -> web.Response:
        return _json(verdict(self._state, dict(self._journal.unknown_routes)))

    async def _ledger(self, request: web.Request) -> web.StreamResponse:
        after = _number_in_query(request, "after")
        replays = request.query.get("replays", "0") in {"1", "true"}
        return await _stream(request, self._state.ledger.lines(after=after, replays=replays))

    async def _sessions(self, _: web.Request) -> web.Response:
        return _json([session.summary() for session in self._state.sessions])

    async def _connections(self, _: web.Request) -> web.Response:
        return _json([connection.summary() for connection in self._state.connections])

    async def _rest(self, request: web.Request) -> web.Response:
        return _json(self._journal.to_json(after=_number_in_query(request, "after")))

    async def _commands(self, _: web.Request) -> web.Response:
        return _json(self._actions.commands())

    async def _answers(self, request: web.Request) -> web.StreamResponse:
        return await _stream(request, self._journal.answer_log.lines(after=_number_in_query(request, "after")))

    async def _received(self, _: web.Request) -> web.Response:
        return _json([asdict(received) for received in self._state.referee.received])

    async def _traffic(self, _: web.Request) -> web.Response:
        return _json(self._pump.summary())

    async def _start_traffic(self, request: web.Request) -> web.Response:
        return _json(self._actions.traffic(await _body(request)))

    async def _stop_traffic(self, _: web.Request) -> web.Response:
        return _json(self._actions.stop_traffic())

    async def _dispatch(self, request: web.Request) -> web.Response:
        return _json(self._actions.dispatch(await _body(request)))

    async def _interaction(self, request: web.Request) -> web.Response:
        return _json(self._actions.interaction(await _body(request)))

    async def _message(self, request: web.Request) -> web.Response:
        return _json(self._actions.message(await _body(request)))

    async def _fault(self, request: web.Request) -> web.Response:
        return _json(await self._actions.fault(await _body(request)))

    async def _clear_faults(self, _: web.Request) -> web.Response:
        return _json(await self._actions.clear_faults())


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except ValueError as error:
        return _json({"error": str(error)}, status=400)
    except web.HTTPException as error:
        return _json({"error": f"{request.method} {request.path}: {error.reason}"}, status=error.status)


async def _stream(request: web.Request, chunks: Iterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    for chunk in chunks:
        await response.write(chunk)
        await asyncio.sleep(0)  # the gateway goes on while a long table is read
    await response.write_eof()
    return response


async def _body(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    try:
        body = orjson.loads(raw or b"{}")
    except orjson.JSONDecodeError as error:
        msg = f"the body must be JSON: {error}"
        raise ValueError(msg) from error
    if not isinstance(body, dict):
        msg = "the body must be a JSON object"
        raise ValueError(msg)  # noqa: TRY004 - every problem of a request is a ValueError
    return body


def _number_in_query(request: web.Request, key: str) -> int:
    text = request.query.get(key, "0")
    if not text.isdecimal():
        msg = f"{key} must be a whole number of 0 or more, not {text!r}"
        raise ValueError(msg)
    return int(text)


def _json(body: Json, *, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
