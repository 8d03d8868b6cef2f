"""This process's copy of the cache: loaded from the newest generation, then fed by the stream of dispatches."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import hikari

from consumers.cache_fill import GUILD_FILL, FillJudge, guild_and_since
from consumers.cache_generations import GENERATION_LOST, SLICE_BYTES
from consumers.cache_records import payload_of, unpack
from consumers.cache_waiting import CacheWaiting
from consumers.errors import CacheSlowError, MalformedDispatchError
from consumers.frame import decode
from eventbus.amqp.cache_streams import MAX_HOLE
from eventbus.errors import BrokerLostError, QueueBusyError, RelayError, StreamGapError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hikari.api import GatewayShard

    from consumers.cache_fill import Filled
    from consumers.cache_generations import Generation, Generations
    from consumers.cache_writer import CacheWriter
    from consumers.dispatch import Dispatch
    from consumers.frame import Frame
    from eventbus.amqp.cache_streams import CacheStreams, StreamEntry

_log = logging.getLogger(__name__)

LOAD_TIMEOUT_S = 600.0
YIELD_EVERY = 20
BIND_AGAIN_S = 60.0
WRITE_CHECK_S = 5.0
LOAD_AGAIN_S = 1.0
WRITE_AFTER_BYTES_PER_GUILD = 8 << 10
MIN_WRITE_AFTER_BYTES = 4 << 20


def write_after(guild_count: int) -> int:
    """Bytes of the stream after which a new generation is worth its cost: about what the guilds themselves take."""
    return min(SLICE_BYTES, max(MIN_WRITE_AFTER_BYTES, guild_count * WRITE_AFTER_BYTES_PER_GUILD))


class CacheCopy:
    """`load()` first, then `keep()` as a task. `listens(event_type)`: whether the process has listeners for it."""

    def __init__(
        self,
        streams: CacheStreams,
        generations: Generations,
        writer: CacheWriter,
        *,
        listens: Callable[[type[hikari.Event]], bool],
        shard_of: Callable[[Dispatch], GatewayShard],
        any_shard: Callable[[], GatewayShard],
    ) -> None:
        self._streams = streams
        self._generations = generations
        self._writer = writer
        self._listens = listens
        self._shard_of = shard_of
        self._any_shard = any_shard
        self._waiting = CacheWaiting()
        self._judge = FillJudge()
        self._watch: Callable[[StreamEntry], None] | None = None
        self._moved = asyncio.Event()
        self.next_offset: int | None = None
        """The entries of the stream before it are in this copy."""
        self.filled: Filled | None = None
        """The last check over REST, as the index said when this copy was loaded."""
        self.lost = asyncio.Event()
        self.lost_at = 0.0
        """When entries were last found to be missing from the streams, in Unix seconds; `lost` is set then."""
        self._unwritten_bytes = 0
        self._unwritten_since = 0
        self._refused: set[str] = set()
        self._must_bind = asyncio.Event()

    # Loading

    async def load(self) -> None:
        """Return when the cache holds all that the streams hold now. Raises RelayError."""
        began_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                generation = await self._load_generation()
                await self._catch_up()
        except TimeoutError:
            raise CacheSlowError(LOAD_TIMEOUT_S) from None
        fields = {
            "guilds": len(self._writer.guild_ids),
            "from_generation": generation.guild_count if generation else 0,
            "seconds": round(asyncio.get_running_loop().time() - began_at, 3),
        }
        _log.info("the cache is loaded", extra={"action": "cache_loaded", **fields})

    async def _load_generation(self) -> Generation | None:
        self._writer.clear()
        self._judge = FillJudge()
        self.next_offset = None
        generation, self.filled = await self._generations.index()
        if generation is None:
            return None
        try:
            async with aclosing(self._generations.read(generation)) as entries:
                async for entry in entries:
                    self._apply(entry.event_type or "", self._any_shard(), unpack(entry.body))
                    await self._let_others_run(entry)
        except StreamGapError as error:
            self._note_loss(error)
            self._writer.clear()
            return None
        self.next_offset = self._unwritten_since = generation.upto
        self._unwritten_bytes = 0
        for entry in await self._generations.recent(generation.upto):
            self._judge_by(entry)
        return generation

    def _note_loss(self, error: StreamGapError) -> None:
        _log.warning(GENERATION_LOST, extra={"action": "cache_gap", "reason": str(error)})
        self.lost_at = time.time()
        self.lost.set()

    async def _catch_up(self) -> None:
        try:
            async with aclosing(self._streams.read_to_end(None, self.next_offset)) as entries:
                async for entry in entries:
                    if self.next_offset is None and entry.offset > MAX_HOLE:
                        self._note_loss(StreamGapError(self._streams.name(), 0, entry.offset))
                    await self._take(entry)
                    await self._let_others_run(entry)
        except StreamGapError as error:
            self._note_loss(error)
            self._writer.clear()
            self._judge = FillJudge()
            self.next_offset = None
            await self._catch_up()

    async def _let_others_run(self, entry: StreamEntry) -> None:
        if entry.offset % YIELD_EVERY == 0:
            await asyncio.sleep(0)

    # Following

    async def keep(self) -> None:
        """Follow the stream for ever."""
        while True:
            try:
                async with aclosing(self._streams.read(None, self.next_offset)) as entries:
                    async for entry in entries:
                        await self._take(entry)
            except StreamGapError as error:
                self._note_loss(error)
                await self._load_again()

    async def _load_again(self) -> None:
        while True:
            try:
                await self._load_generation()
            except BrokerLostError as error:
                _log.debug("the cache waits for the broker", extra={"action": "load_later", "reason": str(error)})
            else:
                return
            await asyncio.sleep(LOAD_AGAIN_S)

    def bind_again(self, event_type: str) -> None:
        """The exchange of an event type is there again, without its bindings."""
        if event_type in self._streams.types:
            self._must_bind.set()

    async def keep_bound(self) -> None:
        """Bind when told to, and now and then: bindings go with an exchange that is deleted."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BIND_AGAIN_S):
                    await self._must_bind.wait()
            self._must_bind.clear()
            try:
                await self._streams.bind_again()
            except BrokerLostError as error:
                _log.debug("bindings wait for the broker", extra={"action": "bind_later", "reason": str(error)})

    async def keep_written(self) -> None:
        """Have a generation written whenever the stream has grown enough since this process last heard of one."""
        while True:
            await asyncio.sleep(WRITE_CHECK_S)
            if self._unwritten_bytes >= write_after(len(self._writer.guild_ids)):
                await self.write()

    async def write(self) -> None:
        """Write a generation now, unless another process does, or has done so since this one last heard of one."""
        since, self._unwritten_since, self._unwritten_bytes = self._unwritten_since, self.next_offset or 0, 0
        try:
            newest = await self._generations.write_next(self._any_shard().get_user_id(), unless_beyond=since)
            self._unwritten_since = max(self._unwritten_since, newest.upto if newest is not None else 0)
        except* QueueBusyError:
            _log.debug("another process writes a generation", extra={"action": "cache_busy"})
        except* RelayError as errors:
            reason = "; ".join(str(error) for error in errors.exceptions)
            _log.warning("no generation of the cache", extra={"action": "cache_unwritten", "reason": reason})

    async def _take(self, entry: StreamEntry) -> None:
        self.next_offset = entry.offset + 1
        self._unwritten_bytes += len(entry.body)
        if self._watch is not None:
            self._watch(entry)
        try:
            if entry.event_type == GUILD_FILL:
                await self._take_fill(entry)
            elif entry.event_type in self._writer.types:
                self._take_dispatch(entry, _decode(entry))
        except MalformedDispatchError as error:
            self._refuse(entry.event_type or "", error)
        self._moved.set()

    async def _take_fill(self, entry: StreamEntry) -> None:
        frames = self._judge.frames(entry.offset, entry.headers, entry.body, has_guild=self._writer.has_guild)
        for event_type, payload in frames:
            self._apply(event_type, self._any_shard(), payload)
            await asyncio.sleep(0)

    def _judge_by(self, entry: StreamEntry) -> None:
        """An entry that the generation holds already: it only says which fills count."""
        with suppress(MalformedDispatchError):
            if entry.event_type == GUILD_FILL:
                self._judge.said(entry.offset, guild_and_since(entry.headers)[0])
            elif entry.event_type in self._writer.types:
                self._judge.hear(entry.offset, entry.event_type, entry.headers, payload_of(entry.body))

    def _take_dispatch(self, entry: StreamEntry, frame: Frame) -> None:
        dispatch = frame.dispatch
        if not isinstance(frame.payload, dict):
            self._waiting.applied(dispatch, None)  # it changes nothing, and nobody is to wait for it
            raise MalformedDispatchError("d is not an object")
        self._judge.hear(entry.offset, dispatch.type, entry.headers, frame.payload)
        event = self._apply(dispatch.type, self._shard_of(dispatch), frame.payload)
        self._waiting.applied(dispatch, event)

    def _apply(self, event_type: str, shard: GatewayShard, payload: dict[str, Any]) -> hikari.Event | None:
        try:
            event = self._writer.apply(event_type, shard, payload)
        except Exception as error:  # noqa: BLE001 - the border of one delivery: the rest of the cache goes on
            self._refuse(event_type, error)
            return None
        return event if event is not None and self._listens(type(event)) else None

    def _refuse(self, event_type: str, error: Exception) -> None:
        level = logging.DEBUG if event_type in self._refused else logging.WARNING
        self._refused.add(event_type)
        _log.log(
            level,
            "the cache could not take a dispatch",
            extra={"action": "cache_refused", "type": event_type, "reason": repr(error)},
        )

    # Filling

    @property
    def own_id(self) -> int:
        """The bot's user."""
        return int(self._any_shard().get_user_id())

    @property
    def guild_ids(self) -> frozenset[int]:
        """The guilds that are there."""
        return self._writer.guild_ids

    def has_guild(self, guild_id: int) -> bool:
        """Whether a guild is there."""
        return self._writer.has_guild(guild_id)

    def is_unavailable(self, guild_id: int) -> bool:
        """Whether Discord said last that the guild cannot be reached."""
        return self._writer.is_unavailable(guild_id)

    @property
    def guilds_lacking_members(self) -> tuple[int, ...]:
        """The guilds of which members may be missing and can be asked for."""
        return self._writer.guilds_lacking_members

    def lacks_members(self, guild_id: int) -> bool:
        """Whether members of a guild may be missing and can be asked for."""
        return self._writer.lacks_members(guild_id)

    def count_members(self, guild_id: int) -> None:
        """Look whether members of a guild are really missing."""
        self._writer.count_members(guild_id)

    @contextmanager
    def watched_by(self, watch: Callable[[StreamEntry], None]) -> Iterator[None]:
        """`watch` gets each entry as soon as `next_offset` is behind it, whatever parts are chosen."""
        self._watch = watch
        try:
            yield
        finally:
            self._watch = None

    async def come_to(self, offset: int) -> None:
        """Return when the copy holds what stands before an offset. Raises TimeoutError."""
        async with asyncio.timeout(LOAD_TIMEOUT_S):
            while (self.next_offset or 0) < offset:
                await self.moved()

    async def moved(self) -> None:
        """Return when the copy has taken something more."""
        self._moved.clear()
        await self._moved.wait()

    # Handling

    async def reach(self, dispatch: Dispatch) -> hikari.Event | None:
        """Wait until the cache has come to this dispatch; the event that was made there, if it is still known."""
        return await self._waiting.reach(dispatch) if dispatch.type in self._writer.types else None


def _decode(entry: StreamEntry) -> Frame:
    return decode(
        entry.body,
        event_type=entry.event_type,
        message_id=entry.message_id,
        headers=entry.headers,
        redelivered=False,
    )
