"""Fetches guilds that the cache misses over REST, in one process at a time, and takes away those that the bot left."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
import secrets
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import hikari

from consumers.cache_fill import GUILD_FILL, Filled, due_in_s, fill_body, fill_headers
from consumers.cache_fill_watch import FetchState, FillWatch
from consumers.cache_rest import GuildRest
from eventbus.errors import QueueBusyError, RelayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from hikari import impl

    from consumers.cache_copy import CacheCopy
    from consumers.cache_fill_watch import FetchedGuild
    from consumers.cache_generations import Generations
    from eventbus.amqp.cache_streams import CacheStreams, StreamEntry

_log = logging.getLogger(__name__)

GUILDS_AT_ONCE = 4
LOCK_RETRY_S = 5.0
FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0
WRITES = 10
"""So often a fill is written until one counts; each is a moment after dispatches of its guild came between."""
WRITE_PAUSE_S = 0.2
SEEN_TIMEOUT_S = 30.0
PROGRESS_EVERY_S = 30.0
MOST_FAILED = 20
"""Then REST is in trouble, and the rest waits for the next try."""
_ODD_ANSWER = (LookupError, TypeError, ValueError, AttributeError, AssertionError)
"""Of hikari and of ours: a guild that nobody can read, or what answers is not Discord."""
_TROUBLE = (RelayError, hikari.HikariError, aiohttp.ClientError, OSError, *_ODD_ANSWER)  # TimeoutError is an OSError


class _Tally(NamedTuple):
    """Guilds of one round."""

    filled: set[int]
    removed: set[int]
    failed: set[int]

    @property
    def fields(self) -> dict[str, Any]:
        """For the log."""
        return {"filled": len(self.filled), "removed": len(self.removed), "failed": len(self.failed)}


class CacheFiller:
    """`keep()` as a task, when `copy` is loaded. `make_rest()` gives a client that was built with JsonFactory."""

    def __init__(
        self,
        copy: CacheCopy,
        streams: CacheStreams,
        generations: Generations,
        *,
        heavy: tuple[str, ...],
        make_rest: Callable[[], impl.RESTClientImpl],
    ) -> None:
        self._copy = copy
        self._streams = streams
        self._generations = generations
        self._heavy = heavy
        self._make_rest = make_rest
        self._heard = asyncio.Event()

    async def keep(self) -> None:
        """Ask REST whenever it is due, for ever."""
        pauses = _pauses()
        await self._wait(self._due_in_s(self._copy.filled))
        while True:
            try:
                pause_s = await self._fill_if_due()
            except QueueBusyError:
                pause_s = LOCK_RETRY_S * random.uniform(0.7, 1.3)  # noqa: S311 - many wait for the same lock
            except _TROUBLE as error:
                pause_s = next(pauses)
                sentence = "the cache could not be completed over REST: it is tried again"
                _log.warning(sentence, extra={"action": "cache_fill_failed", "reason": repr(error), "again_s": pause_s})
            else:
                pauses = _pauses() if pause_s else pauses
                pause_s = pause_s or next(pauses)
            await self._wait(pause_s)

    async def _wait(self, pause_s: float) -> None:
        """Until so long has passed, or entries of the stream are found to be missing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._copy.lost.wait()
        self._copy.lost.clear()

    async def _fill_if_due(self) -> float:
        """Seconds until it is due again; 0 if not all that is missing came. Raises what _TROUBLE names."""
        async with self._streams.locked("filler"):
            await self._copy.come_to(await self._streams.end(None))
            pause_s = self._due_in_s(await self._generations.filled())
            if pause_s:
                return pause_s
            began = Filled(at=time.time(), upto=self._copy.next_offset or 0)
            if not await self._fill():
                return 0.0
            await self._streams.append("index", "FILLED", began.model_dump_json().encode())
            return self._due_in_s(began)

    def _due_in_s(self, filled: Filled | None) -> float:
        return due_in_s(
            filled, now=time.time(), wanted_since=self._copy.lost_at, next_offset=self._copy.next_offset or 0
        )

    async def _fill(self) -> bool:
        """Ask REST once; whether all that is missing came."""
        had = self._copy.guild_ids
        own_id = self._copy.own_id
        async with _started(self._make_rest()) as client:
            rest = GuildRest(client, own_id=own_id, with_members="members" in self._heavy)
            listed = await rest.guild_ids()
            missing = sorted(guild_id for guild_id in listed if not self._copy.has_guild(guild_id))
            # Discord would have to name none at all: an answer that is more likely wrong than true.
            unnamed = sorted(had - listed) if listed else []
            fields: dict[str, Any] = {"listed": len(listed), "missing": len(missing), "unnamed": len(unnamed)}
            _log.info("the cache is compared with REST", extra={"action": "cache_fill", **fields})
            tally = _Tally(set(), set(), set())
            began_at = asyncio.get_running_loop().time()
            watch = FillWatch(own_id=own_id)
            with self._copy.watched_by(lambda entry: self._hear(watch, entry)):
                work = iter([*((one, True) for one in missing), *((one, False) for one in unnamed)])
                async with asyncio.TaskGroup() as tasks:
                    progress = tasks.create_task(_tell(tally, fields), name="progress of the cache's fill")
                    workers = [
                        tasks.create_task(self._work(work, watch, rest, tally), name="fill guilds")
                        for _ in range(GUILDS_AT_ONCE)
                    ]
                    await asyncio.wait(workers)
                    progress.cancel()
        seconds = round(asyncio.get_running_loop().time() - began_at, 3)
        fields = {**tally.fields, "seconds": seconds}
        _log.info("the cache holds what REST named", extra={"action": "cache_filled", **fields})
        return not tally.failed

    async def _work(self, work: Iterable[tuple[int, bool]], watch: FillWatch, rest: GuildRest, tally: _Tally) -> None:
        for guild_id, is_missing in work:
            if len(tally.failed) >= MOST_FAILED:
                tally.failed.add(guild_id)
                return
            try:
                await self._settle(watch.begin(guild_id), rest, tally, is_missing=is_missing)
            except _TROUBLE as error:
                tally.failed.add(guild_id)
                _log.debug(
                    "a guild did not come over REST",
                    extra={"action": "fill_guild_failed", "guild": str(guild_id), "reason": repr(error)},
                )
            finally:
                watch.end(guild_id)

    async def _settle(self, guild: FetchedGuild, rest: GuildRest, tally: _Tally, *, is_missing: bool) -> None:
        """Bring one guild into the stream, or take it away if REST shows it no more."""
        if is_missing:
            if self._copy.has_guild(guild.guild_id):
                return  # it came since the list was made
            create = await rest.guild(guild.guild_id)
            if create is None:
                return
            guild.answer(create)
            if await self._write(guild):
                tally.filled.add(guild.guild_id)
            return
        if self._copy.is_unavailable(guild.guild_id) or await rest.is_in(guild.guild_id):
            return
        if guild.is_untouched and await self._write(guild, tries=1):
            tally.removed.add(guild.guild_id)

    async def _write(self, guild: FetchedGuild, *, tries: int = WRITES) -> bool:
        """Write fills of a guild until one counts; whether one does. Raises TimeoutError, BrokerLostError."""
        for number in range(tries):
            await asyncio.sleep(WRITE_PAUSE_S * number)
            if guild.state.is_over:
                break
            since = self._copy.next_offset or 0
            message_id = secrets.token_hex(8)
            record = guild.send(message_id, since)
            body = fill_body(record.frames(heavy=self._heavy)) if record else b""
            headers = fill_headers(guild.guild_id, since)
            await self._streams.append(None, GUILD_FILL, body, message_id=message_id, headers=headers)
            async with asyncio.timeout(SEEN_TIMEOUT_S):
                while guild.state is FetchState.SENT:
                    self._heard.clear()
                    await self._heard.wait()
        if not guild.state.is_over and tries > 1:
            raise TimeoutError(f"dispatches of guild {guild.guild_id} came between each time")
        return guild.state is FetchState.FILLED

    def _hear(self, watch: FillWatch, entry: StreamEntry) -> None:
        watch.hear(entry.offset, entry.event_type or "", entry.headers, entry.message_id, entry.body)
        self._heard.set()


async def _tell(tally: _Tally, fields: dict[str, Any]) -> None:
    while True:
        await asyncio.sleep(PROGRESS_EVERY_S)
        _log.info("the cache is being completed", extra={"action": "cache_filling", **fields, **tally.fields})


@asynccontextmanager
async def _started(rest: impl.RESTClientImpl) -> AsyncIterator[impl.RESTClientImpl]:
    rest.start()
    try:
        yield rest
    finally:
        await rest.close()


def _pauses() -> Iterator[float]:
    """Seconds between tries, each twice the one before."""
    return (min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**number) for number in itertools.count())
