"""The simulator's control API, as far as ops needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

from ops.errors import SimulatorFailedError

if TYPE_CHECKING:
    from types import TracebackType

TIMEOUT = aiohttp.ClientTimeout(total=30.0)


class SimulatorClient:
    """`async with`; each call raises SimulatorFailedError if the simulator does not answer as it should."""

    def __init__(self, control_url: str) -> None:
        self._url = control_url
        self._http = aiohttp.ClientSession(timeout=TIMEOUT)

    async def __aenter__(self) -> SimulatorClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.close()

    async def verdict(self) -> dict[str, Any]:
        """Counts and violations so far."""
        return dict(orjson.loads(await self._call("GET", "/verdict")))

    async def sessions(self) -> list[dict[str, Any]]:
        """The gateway sessions."""
        return list(orjson.loads(await self._call("GET", "/sessions")))

    async def received(self) -> list[dict[str, Any]]:
        """Every gateway command that a client sent, heartbeats left out: `op, d, session` and more."""
        return list(orjson.loads(await self._call("GET", "/received")))

    async def ledger(self) -> list[tuple[str, str, float]]:
        """Every dispatch sent: message id (`session_id:seq`), type, sent at (seconds since the epoch)."""
        entries = map(orjson.loads, (await self._call("GET", "/ledger")).splitlines())
        return [(f"{entry['session']}:{entry['seq']}", entry["type"], entry["at"]) for entry in entries]

    async def ledger_after(self, row: int) -> list[dict[str, Any]]:
        """The ledger's rows with `n` > `row`, replays left out: `n, session, shard, seq, type, at` and more."""
        return [dict(orjson.loads(line)) for line in (await self._call("GET", f"/ledger?after={row}")).splitlines()]

    async def start_traffic(self, **settings: object) -> None:
        """Start traffic, for example `rate=100, mix="mixed"`."""
        await self._call("POST", "/traffic", settings)

    async def stop_traffic(self) -> None:
        """Stop the traffic."""
        await self._call("DELETE", "/traffic")

    async def interaction(self, **settings: object) -> dict[str, Any]:
        """Send an interaction; its id and token."""
        return dict(orjson.loads(await self._call("POST", "/interaction", settings)))

    async def commands(self) -> list[dict[str, Any]]:
        """The application commands that the bot has registered, as Discord has them."""
        return list(orjson.loads(await self._call("GET", "/commands")))

    async def dispatch(self, **settings: object) -> None:
        """Send a dispatch: `type`, `data`, `guild_id`, `intents`."""
        await self._call("POST", "/dispatch", settings)

    async def rest_journal(self) -> dict[str, Any]:
        """What clients asked of REST: requests, `answers` by interaction id, unknown routes."""
        return dict(orjson.loads(await self._call("GET", "/rest")))

    async def answers_after(self, row: int) -> list[dict[str, Any]]:
        """Tries to answer interactions with `n` > `row`: `n, interaction_id, type, outcome, at`."""
        return [dict(orjson.loads(line)) for line in (await self._call("GET", f"/answers?after={row}")).splitlines()]

    async def fault(self, **settings: object) -> int:
        """Provoke a fault, for example `kind="close", code=4000`; how many connections it touched."""
        return int(orjson.loads(await self._call("POST", "/faults", settings))["touched"])

    async def _call(self, method: str, path: str, body: object = None) -> bytes:
        data = None if body is None else orjson.dumps(body)
        try:
            async with self._http.request(method, self._url + path, data=data) as response:
                content = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise SimulatorFailedError(f"{method} {path} got no answer: {error!r}") from error
        if response.status >= 400:
            raise SimulatorFailedError(f"{method} {path} was refused: {content.decode(errors='replace')[:200]}")
        return content
