"""Discord's gateway/bot over hikari's REST: gateway URL, recommended shard count, identify limit."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import hikari
from hikari.impl import HTTPSettings, RESTApp

from coordinator.errors import DiscordUnreachableError, TokenRefusedError
from coordinator.identify_gate import IdentifyLimit

if TYPE_CHECKING:
    from types import TracebackType

    from hikari.impl import RESTClientImpl
    from hikari.sessions import GatewayBotInfo

_log = logging.getLogger(__name__)

ATTEMPT_TIMEOUT_S = 10.0
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 5.0


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
        self._app = RESTApp(url=rest_url, max_retries=0, http_settings=HTTPSettings())
        self._client: RESTClientImpl | None = None

    async def __aenter__(self) -> Self:
        await self._app.start()
        self._client = self._app.acquire(self._bot_token, hikari.TokenType.BOT)
        self._client.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()
        await self._app.close()

    async def fetch(self) -> GatewayInfo:
        """One attempt. Raises TokenRefusedError or DiscordUnreachableError."""
        if self._client is None:
            raise RuntimeError("DiscordGateway is used outside its `async with`")
        asked_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                info = await self._client.fetch_gateway_bot_info()
        except hikari.UnauthorizedError as error:
            raise TokenRefusedError(
                f"Discord's REST API at {self._rest_url} refused the bot token (401): set DISCORD_TOKEN to the token"
                " that the developer portal shows for the bot"
            ) from error
        except TimeoutError as error:
            raise self._unreachable(f"no answer within {ATTEMPT_TIMEOUT_S:g} s") from error
        except (hikari.HikariError, OSError) as error:
            raise self._unreachable(_reason(error)) from error
        except (KeyError, TypeError, ValueError, AssertionError) as error:
            raise self._unreachable(f"the answer is not Discord's: {error!r}") from error
        return _gateway_info(info, asked_at)

    async def fetch_until(self, *, timeout_s: float) -> GatewayInfo:
        """Attempts until one succeeds or `timeout_s` has passed. Raises as `fetch`; a refused token at once."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                return await self.fetch()
            except DiscordUnreachableError as error:
                if asyncio.get_running_loop().time() + backoff_s > deadline:
                    raise
                _log.info("Discord does not answer yet", extra={"action": "discord_retry", "reason": str(error)})
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)

    def _unreachable(self, reason: str) -> DiscordUnreachableError:
        return DiscordUnreachableError(
            f"Discord's REST API at {self._rest_url} gives no gateway ({reason}): check the network and GW_REST_URL"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, hikari.HTTPResponseError):
        return f"HTTP status {int(error.status)}"
    return str(error).partition("\n")[0] or type(error).__name__


def _gateway_info(info: GatewayBotInfo, asked_at: float) -> GatewayInfo:
    limit = info.session_start_limit
    identify_limit = IdentifyLimit(
        total=limit.total,
        remaining=limit.remaining,
        reset_after_s=limit.reset_after.total_seconds(),
        max_concurrency=max(1, limit.max_concurrency),
    )
    return GatewayInfo(info.url, max(1, info.shard_count), identify_limit, asked_at)
