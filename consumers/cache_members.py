"""Asks Discord for the members that it did not send with a guild, in one process of all at a time.

Discord sends few members of a large guild, and without the intent GUILD_PRESENCES hardly any of any guild:
https://docs.discord.com/developers/events/gateway-events#guild-create
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from typing import TYPE_CHECKING

import hikari

from consumers.cache_records import MEMBERS_NONCE, shard_of_guild
from consumers.errors import CommandRateLimitedError
from eventbus.errors import QueueBusyError, RelayError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from consumers.cache_copy import CacheCopy
    from consumers.shard_proxy import ShardProxy
    from eventbus.amqp.cache_streams import CacheStreams

_log = logging.getLogger(__name__)

REQUEST_INTERVAL_S = 1.0
"""Of a shard: half of the 120 sends in 60 s that Discord allows are left to the bot."""
AT_ONCE = 16
LOOK_S = 2.0
LOCK_RETRY_S = 5.0
ANSWER_TIMEOUT_S = 60.0
MOST_FAILURES = 3
PAUSE_S = 30.0
"""After a failure; Discord answers for all members of a guild once in 30 s."""


class CacheMembers:
    """`keep()` as a task, when `copy` is loaded. `shards()` are the bot's now."""

    def __init__(
        self, copy: CacheCopy, streams: CacheStreams, *, shards: Callable[[], Mapping[int, ShardProxy]]
    ) -> None:
        self._copy = copy
        self._streams = streams
        self._shards = shards
        self._places = asyncio.Semaphore(AT_ONCE)

    async def keep(self) -> None:
        """Ask whenever members are missing, for ever."""
        while True:
            pause_s = LOOK_S
            if self._copy.guilds_lacking_members:
                try:
                    async with self._streams.locked("members"):
                        pause_s = LOOK_S if await self._ask_for_all() else PAUSE_S
                except QueueBusyError:
                    _log.debug("another process asks for members", extra={"action": "members_busy"})
                    pause_s = LOCK_RETRY_S
                except RelayError as error:
                    _log.debug("members wait", extra={"action": "members_later", "reason": str(error)})
                    pause_s = PAUSE_S
            await asyncio.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311 - many wait for the same lock

    async def _ask_for_all(self) -> bool:
        """Whether the members of all guilds came."""
        shards, guilds = self._shards(), self._copy.guilds_lacking_members
        by_shard: dict[int, list[int]] = {}
        for guild_id in random.sample(guilds, len(guilds)):  # so that none that fails is always before the same ones
            by_shard.setdefault(shard_of_guild(guild_id, len(shards)), []).append(guild_id)
        _log.info("asking for members", extra={"action": "members_asked", "guilds": len(guilds)})
        came = await asyncio.gather(*(self._ask_shard(shards[one], by_shard[one]) for one in by_shard))
        _log.info("members came", extra={"action": "members_came", "guilds": sum(came), "of": len(guilds)})
        return sum(came) == len(guilds)

    async def _ask_shard(self, shard: ShardProxy, guild_ids: Sequence[int]) -> int:
        """For one guild after another, until several fail in a row; how many did not."""
        count = failures = 0
        for guild_id in guild_ids:
            async with self._places:
                try:
                    is_asked = await self._ask(shard, guild_id)
                except (RelayError, TimeoutError, hikari.HikariError) as error:
                    fields = {"action": "members_missing", "guild": str(guild_id), "reason": repr(error)}
                    level = logging.DEBUG if isinstance(error, CommandRateLimitedError) else logging.WARNING
                    _log.log(level, "members did not come: they are asked for again", extra=fields)
                    failures += 1
                    if failures == MOST_FAILURES:
                        break
                    continue
            count, failures = count + 1, 0
            await asyncio.sleep(REQUEST_INTERVAL_S if is_asked else 0)
        return count

    async def _ask(self, shard: ShardProxy, guild_id: int) -> bool:
        """Return when the copy has them; whether Discord was asked. Raises CommandError, TimeoutError."""
        self._copy.count_members(guild_id)
        if not self._copy.lacks_members(guild_id):
            return False
        with_presences = bool(shard.intents & hikari.Intents.GUILD_PRESENCES)
        nonce = f"{MEMBERS_NONCE}{secrets.token_hex(8)}"
        await shard.request_guild_members(guild_id, include_presences=with_presences, nonce=nonce)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while self._copy.lacks_members(guild_id):
                await self._copy.moved()
        return True
