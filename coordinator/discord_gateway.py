"""Discord's gateway/bot: gateway URL, recommended shard count, identify limit.

One GET, without hikari: a coordinator that starts has to be a stand-by soon, and importing hikari takes a second.
https://discord.com/developers/docs/events/gateway#get-gateway-bot
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Self

import aiohttp
from pydantic import BaseModel, Field, ValidationError

from coordinator.errors import DiscordUnreachableError, TokenRefusedError
from coordinator.identify_gate import IdentifyLimit
from eventbus.proxies import is_proxied

if TYPE_CHECKING:
    from types import TracebackType

_log = logging.getLogger(__name__)

ATTEMPT_TIMEOUT_S = 10.0
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 5.0
MAX_RETRY_AFTER_S = 60.0


class _SessionStartLimit(BaseModel):
    total: int = Field(ge=0)
    remaining: int = Field(ge=0)
    reset_after: int = Field(ge=0)  # milliseconds
    max_concurrency: int


class _GatewayBot(BaseModel):
    url: str
    shards: int
    session_start_limit: _SessionStartLimit


@dataclass(frozen=True, slots=True)
class GatewayInfo:
    """What Discord says of the bot's gateway, as of `asked_at` on the event loop's clock."""

    url: str
    shard_count: int
    identify_limit: IdentifyLimit
    asked_at: float


class DiscordGateway:
    """Asks gateway/bot; an async context manager."""

    def __init__(self, rest_url: str, bot_token: str) -> None:
        self._rest_url = rest_url
        self._bot_token = bot_token
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        agent = f"DiscordBot (hikari-relay, {version('hikari-relay')})"
        self._http = aiohttp.ClientSession(
            headers={"Authorization": f"Bot {self._bot_token}", "User-Agent": agent},
            timeout=aiohttp.ClientTimeout(total=ATTEMPT_TIMEOUT_S),
            trust_env=is_proxied(self._rest_url),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def fetch(self) -> GatewayInfo:
        """One attempt. Raises TokenRefusedError or DiscordUnreachableError."""
        if self._http is None:
            raise RuntimeError("DiscordGateway is used outside its `async with`")
        asked_at = asyncio.get_running_loop().time()
        url = f"{self._rest_url.rstrip('/')}/gateway/bot"
        try:
            async with self._http.get(url, allow_redirects=False) as response:  # the token goes nowhere else
                self._check(response)
                body = await response.read()
        except TimeoutError as error:
            raise self._unreachable(f"no answer within {ATTEMPT_TIMEOUT_S:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: `~/.netrc` has a login, too
            raise self._unreachable(str(error).partition("\n")[0] or type(error).__name__) from error
        try:
            return _gateway_info(_GatewayBot.model_validate_json(body), asked_at)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"]) or "body"
            raise self._unreachable(f"the answer is not Discord's: {where}: {first['msg']}") from error

    def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status == HTTPStatus.UNAUTHORIZED:
            raise TokenRefusedError(
                f"Discord's REST API at {self._rest_url} refused the bot token (401): set DISCORD_TOKEN to the token"
                " that the developer portal shows for the bot"
            )
        if response.status != HTTPStatus.OK:
            retry_after_s = _seconds(response.headers.get("Retry-After", ""))
            raise self._unreachable(f"HTTP status {response.status}", retry_after_s=retry_after_s)

    async def fetch_until(self, *, timeout_s: float) -> GatewayInfo:
        """Attempts until one succeeds or `timeout_s` has passed. Raises as `fetch`; a refused token at once."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                return await self.fetch()
            except DiscordUnreachableError as error:
                wait_s = max(backoff_s, error.retry_after_s)
                if asyncio.get_running_loop().time() + wait_s > deadline:
                    raise
                _log.info("Discord does not answer yet", extra={"action": "discord_retry", "reason": str(error)})
            await asyncio.sleep(wait_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)

    def _unreachable(self, reason: str, *, retry_after_s: float = 0.0) -> DiscordUnreachableError:
        return DiscordUnreachableError(
            f"Discord's REST API at {self._rest_url} gives no gateway ({reason}): check the network and GW_REST_URL",
            retry_after_s=retry_after_s,
        )


def _seconds(text: str) -> float:
    """The header Retry-After; Discord's is in seconds, other servers' may be a date."""
    try:
        return min(max(0.0, float(text)), MAX_RETRY_AFTER_S)
    except ValueError:
        return 0.0


def _gateway_info(answer: _GatewayBot, asked_at: float) -> GatewayInfo:
    limit = answer.session_start_limit
    identify_limit = IdentifyLimit(
        total=limit.total,
        remaining=limit.remaining,
        reset_after_s=limit.reset_after / 1000,
        max_concurrency=max(1, limit.max_concurrency),
    )
    return GatewayInfo(answer.url, max(1, answer.shards), identify_limit, asked_at)
