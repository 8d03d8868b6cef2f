"""Generations: what all guilds were at one offset of the stream, written guild by guild and entered in an index."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from consumers.cache_changes import GuildChanges
from consumers.cache_fill import SPAN, Filled
from consumers.errors import MalformedDispatchError
from eventbus.errors import StreamGapError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from eventbus.amqp.cache_streams import CacheStreams, StreamEntry

_log = logging.getLogger(__name__)

SLICE_BYTES = 64 << 20
"""How much of the stream a generation takes in: it is held in memory meanwhile."""
WRITES_AT_ONCE = 50
RECENT_TIMEOUT_S = 10.0
GENERATION_LOST = "the cache begins anew: guilds are missing until they are fetched over REST or their shards identify"
_ID_HEADER = "generation"
_GUILD_HEADER = "guild"


class Generation(BaseModel):
    """An entry of the index: from `first` to before `last` in the guilds' stream, with all before `upto` applied."""

    model_config = ConfigDict(frozen=True)

    v: int = 1
    generation: str
    first: int
    last: int
    upto: int
    guild_count: int


class Index(NamedTuple):
    """The newest of what the index names."""

    generation: Generation | None = None
    filled: Filled | None = None


class Generations:
    """Reads the newest generation of `streams`, and writes the next one."""

    def __init__(self, streams: CacheStreams, *, heavy: tuple[str, ...], slice_bytes: int = SLICE_BYTES) -> None:
        self.streams = streams
        self._heavy = heavy
        self._slice_bytes = slice_bytes

    async def newest(self) -> Generation | None:
        """The newest complete one. Raises BrokerLostError."""
        return (await self.index()).generation

    async def filled(self) -> Filled | None:
        """The newest check of what is missing that ended well. Raises BrokerLostError."""
        return (await self.index()).filled

    async def index(self) -> Index:
        """What the index says. Raises BrokerLostError."""
        found = Index()
        async for entry in self.streams.read_to_end("index", None):
            try:
                if entry.event_type == "GENERATION":
                    found = found._replace(generation=Generation.model_validate_json(entry.body))
                elif entry.event_type == "FILLED":
                    found = found._replace(filled=Filled.model_validate_json(entry.body))
            except ValidationError as error:
                _log.warning(
                    "an entry of the cache's index was refused", extra={"action": "index_refused", "reason": str(error)}
                )
        return found

    async def recent(self, upto: int) -> list[StreamEntry]:
        """The dispatches before offset `upto` by which fills are judged; none if the stream was cut there."""
        found: list[StreamEntry] = []
        try:
            async with (
                asyncio.timeout(RECENT_TIMEOUT_S),
                aclosing(self.streams.read(None, max(0, upto - SPAN))) as entries,
            ):
                async for entry in entries:
                    if entry.offset >= upto:
                        return found
                    found.append(entry)
        except (StreamGapError, TimeoutError) as error:
            _log.debug("nothing recent", extra={"action": "cache_recent", "reason": repr(error)})
        return found

    async def read(self, generation: Generation) -> AsyncGenerator[StreamEntry, None]:
        """Its entries, the frames of each guild together. Raises StreamGapError if they are not there any more."""
        async with aclosing(self.streams.read("guilds", generation.first)) as entries:
            async for entry in entries:
                if entry.offset >= generation.last:
                    return
                if entry.headers.get(_ID_HEADER) == generation.generation:
                    yield entry

    async def write_next(self, own_id: int, *, unless_beyond: int | None = None) -> Generation | None:
        """Write generations until the newest has taken in what the stream holds now; `own_id` is the bot's user.

        None is written if there is one that reaches beyond offset `unless_beyond`: another process wrote it. Raises
        QueueBusyError if another process does it, StreamGapError if dispatches are missing, BrokerLostError.
        """
        async with self.streams.writing():
            end = await self.streams.end(None)
            newest = await self.newest()
            if newest is not None and unless_beyond is not None and newest.upto > unless_beyond:
                return newest
            while newest is None or newest.upto < end:
                try:
                    newest = await self._write(newest, end, own_id)
                except StreamGapError as error:
                    if newest is None:
                        raise
                    _log.warning(GENERATION_LOST, extra={"action": "cache_gap", "reason": str(error)})
                    newest = None
            return newest

    async def _write(self, old: Generation | None, end: int, own_id: int) -> Generation:
        changes = GuildChanges(own_id=own_id, heavy=self._heavy)
        upto = await self._collect(changes, old.upto if old else None, end)
        generation_id = secrets.token_hex(8)
        first = await self.streams.end("guilds")
        count = await self._write_guilds(generation_id, old, changes)
        written = Generation(
            generation=generation_id,
            first=first,
            last=await self.streams.end("guilds"),
            upto=upto,
            guild_count=count,
        )
        await self.streams.append("index", "GENERATION", written.model_dump_json().encode())
        _log.info(
            "a generation of the cache is written",
            extra={"action": "cache_generation", "guilds": count, "upto": upto, "changed": changes.guild_count},
        )
        return written

    async def _collect(self, changes: GuildChanges, start: int | None, end: int) -> int:
        """Take a slice of the stream; the offset behind it."""
        size = 0
        for entry in await self.recent(start) if start else ():
            with suppress(MalformedDispatchError):
                changes.note(entry.offset, entry.event_type or "", entry.headers, entry.body)
        async with aclosing(self.streams.read(None, start)) as entries:
            async for entry in entries:
                if entry.offset >= end:
                    return entry.offset
                size += len(entry.body)
                try:
                    changes.take(entry.offset, entry.event_type or "", entry.headers, entry.body)
                except MalformedDispatchError as error:
                    _log.debug("left out of the cache", extra={"action": "cache_refused", "reason": str(error)})
                if size >= self._slice_bytes:
                    return entry.offset + 1
        return end

    async def _write_guilds(self, generation_id: str, old: Generation | None, changes: GuildChanges) -> int:
        count = 0
        waiting: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as tasks:
            async for guild_id, bodies in self._guilds(old, changes):
                if not bodies:
                    continue
                count += 1
                # The frames of a guild stand together: one that has several is written when no other is.
                if waiting and (len(bodies) > 1 or len(waiting) >= WRITES_AT_ONCE):
                    await asyncio.wait(waiting)
                    waiting.clear()
                writing = tasks.create_task(self._write_guild(generation_id, guild_id, bodies), name="write a guild")
                waiting.add(writing)
                if len(bodies) > 1:
                    await writing
        return count

    async def _write_guild(self, generation_id: str, guild_id: int, bodies: list[tuple[str, bytes]]) -> None:
        headers = {_ID_HEADER: generation_id, _GUILD_HEADER: str(guild_id)}
        for event_type, body in bodies:
            await self.streams.append("guilds", event_type, body, headers=headers)

    async def _guilds(
        self, old: Generation | None, changes: GuildChanges
    ) -> AsyncIterator[tuple[int, list[tuple[str, bytes]]]]:
        """Each guild with its frames as they are now; none of one that is gone."""
        seen: set[int] = set()
        if old is not None:
            async for guild_id, bodies in _by_guild(self.read(old)):
                seen.add(guild_id)
                yield guild_id, (bodies if changes.is_untouched(guild_id) else changes.applied(guild_id, bodies))
        for guild_id in changes.guild_ids() - seen:
            yield guild_id, changes.applied(guild_id, [])


async def _by_guild(entries: AsyncIterator[StreamEntry]) -> AsyncIterator[tuple[int, list[tuple[str, bytes]]]]:
    """Consecutive entries of the same guild, together."""
    current: int | None = None
    bodies: list[tuple[str, bytes]] = []
    async for entry in entries:
        guild_id = int(str(entry.headers.get(_GUILD_HEADER, 0)))
        if guild_id != current:
            if current is not None:
                yield current, bodies
            current, bodies = guild_id, []
        bodies.append((entry.event_type or "", entry.body))
    if current is not None:
        yield current, bodies
