"""A guild over Discord's REST API, as JSON: what its GUILD_CREATE would say now, as far as REST knows it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import hikari
from hikari import impl

from consumers.cache_records import MEMBERS_COMPLETE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumers.cache_records import JsonObject

_log = logging.getLogger(__name__)

REQUESTS_PER_S = 25.0
"""Half of what Discord allows a bot: https://discord.com/developers/docs/topics/rate-limits#global-rate-limit"""
MOST_MEMBERS = 10_000
LARGE_FROM = 250  # members, as in the Identify
_PAGE_OF_GUILDS = 200
_PAGE_OF_MEMBERS = 1000
_NOT_OF_GATEWAY = ("approximate_member_count", "approximate_presence_count")


class Pace:
    """Lets one through every 1/`per_s` seconds."""

    def __init__(self, per_s: float = REQUESTS_PER_S) -> None:
        self._interval_s = 1 / per_s
        self._next_at = 0.0

    async def turn(self) -> None:
        """Return when it is one's turn."""
        now = asyncio.get_running_loop().time()
        at = max(now, self._next_at)
        self._next_at = at + self._interval_s
        await asyncio.sleep(at - now)


class _ThreadMember(NamedTuple):
    """What hikari looks for when it puts threads and their members together."""

    thread_id: hikari.Snowflake
    payload: JsonObject


class JsonFactory(impl.EntityFactoryImpl):
    """Leaves what Discord said as it is, where the cache must be told of it in Discord's own words."""

    def deserialize_rest_guild(self, payload: Any) -> Any:  # noqa: ANN401, D102
        return payload

    def deserialize_channel(self, payload: Any, **_: Any) -> Any:  # noqa: ANN401, D102
        return payload

    def deserialize_thread_member(self, payload: Any, **_: Any) -> Any:  # noqa: ANN401, D102
        return _ThreadMember(hikari.Snowflake(payload["id"]), payload)

    def deserialize_guild_thread(self, payload: Any, *, member: Any = None, **_: Any) -> Any:  # noqa: ANN401, D102
        return {**payload, "member": member.payload} if member else payload

    def deserialize_member(self, payload: Any, **_: Any) -> Any:  # noqa: ANN401, D102
        return payload

    def deserialize_own_guild(self, payload: Any) -> Any:  # noqa: ANN401, D102
        return payload


class GuildRest:
    """Asks with `rest`, which gives JSON: a client that was built with JsonFactory. Every method raises HikariError."""

    def __init__(self, rest: impl.RESTClientImpl, *, own_id: int, with_members: bool, pace: Pace | None = None) -> None:
        self._rest: Any = rest
        self._own_id = own_id
        self._with_members = with_members
        self._pace = pace or Pace()

    async def guild_ids(self) -> set[int]:
        """The guilds that the bot is in."""
        return {int(guild["id"]) async for guild in self._paced(self._rest.fetch_my_guilds(), _PAGE_OF_GUILDS)}

    async def is_in(self, guild_id: int) -> bool:
        """Whether Discord shows the guild to the bot."""
        try:
            await self._pace.turn()
            await self._rest.fetch_guild(guild_id)
        except (hikari.NotFoundError, hikari.ForbiddenError):
            return False
        return True

    async def guild(self, guild_id: int) -> JsonObject | None:
        """Its GUILD_CREATE, without what REST does not know; None if Discord does not show the guild."""
        try:
            await self._pace.turn()
            guild = await self._rest.fetch_guild(guild_id)
            await self._pace.turn()
            channels = await self._rest.fetch_guild_channels(guild_id)
            await self._pace.turn()
            threads = await self._rest.fetch_active_threads(guild_id)
            await self._pace.turn()
            own = await self._rest.fetch_member(guild_id, self._own_id)
        except (hikari.NotFoundError, hikari.ForbiddenError) as error:
            _log.debug("not shown", extra={"action": "fill_refused", "guild": str(guild_id), "reason": str(error)})
            return None
        members = await self._members(guild_id) if self._with_members else []
        member_count = int(guild.get("approximate_member_count") or len(members) or 1)
        return {
            **{key: value for key, value in guild.items() if key not in _NOT_OF_GATEWAY},
            "joined_at": own["joined_at"],
            "large": member_count > LARGE_FROM,
            "member_count": member_count,
            "unavailable": False,
            "channels": list(channels),
            "threads": list(threads),
            "members": [own, *members],
            **({MEMBERS_COMPLETE: True} if 0 < len(members) < MOST_MEMBERS else {}),
            "presences": [],
            "voice_states": [],
        }

    async def _members(self, guild_id: int) -> list[JsonObject]:
        members: list[JsonObject] = []
        try:
            async for member in self._paced(self._rest.fetch_members(guild_id), _PAGE_OF_MEMBERS):
                members.append(member)
                if len(members) >= MOST_MEMBERS:
                    break
        except hikari.ForbiddenError as error:
            _log.debug("no members", extra={"action": "fill_refused", "guild": str(guild_id), "reason": str(error)})
        return members

    async def _paced(self, items: Any, page: int) -> AsyncIterator[JsonObject]:  # noqa: ANN401 - hikari's iterator
        count = 0
        await self._pace.turn()
        async for item in items:
            yield item
            count += 1
            if count % page == 0:
                await self._pace.turn()
