"""This process's copy of the cache: loaded from the newest generation, then fed by the stream of dispatches."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import hikari

from consumers.cache_generations import GENERATION_LOST, SLICE_BYTES
from consumers.cache_past import CachePast
from consumers.cache_records import unpack
from consumers.errors import CacheSlowError, MalformedDispatchError
from consumers.frame import decode
from eventbus.errors import BrokerLostError, QueueBusyError, RelayError, StreamGapError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hikari.api import GatewayShard

    from consumers.cache_generations import Generation, Generations
    from consumers.cache_writer import CacheWriter
    from consumers.dispatch import Dispatch
    from consumers.frame import Frame
    from eventbus.amqp.cache_streams import CacheStreams, StreamEntry

_log = logging.getLogger(__name__)

WAIT_S = 5.0
"""How long a dispatch waits for the copy to come so far."""
LOAD_TIMEOUT_S = 600.0
YIELD_EVERY = 20
BIND_AGAIN_S = 60.0
MAX_UNKNOWN_SESSIONS = 1000
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
        self._past = CachePast()
        self._awaited: dict[str, asyncio.Event] = {}
        self._unknown_sessions: set[str] = set()
        self._next_offset: int | None = None
        self._unwritten_bytes = 0
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
        self._next_offset = None
        generation = await self._generations.newest()
        if generation is None:
            return None
        try:
            async with aclosing(self._generations.read(generation)) as entries:
                async for entry in entries:
                    self._apply(entry.event_type or "", self._any_shard(), unpack(entry.body))
                    await self._let_others_run(entry)
        except StreamGapError as error:
            _log.warning(GENERATION_LOST, extra={"action": "cache_gap", "reason": str(error)})
            self._writer.clear()
            return None
        self._next_offset = generation.upto
        return generation

    async def _catch_up(self) -> None:
        try:
            async with aclosing(self._streams.read_to_end(None, self._next_offset)) as entries:
                async for entry in entries:
                    self._take(entry)
                    await self._let_others_run(entry)
        except StreamGapError as error:
            _log.warning(GENERATION_LOST, extra={"action": "cache_gap", "reason": str(error)})
            self._writer.clear()
            self._next_offset = None
            await self._catch_up()

    async def _let_others_run(self, entry: StreamEntry) -> None:
        if entry.offset % YIELD_EVERY == 0:
            await asyncio.sleep(0)

    # Following

    async def keep(self) -> None:
        """Follow the stream for ever."""
        while True:
            try:
                async with aclosing(self._streams.read(None, self._next_offset)) as entries:
                    async for entry in entries:
                        self._take(entry)
            except StreamGapError as error:
                _log.warning(GENERATION_LOST, extra={"action": "cache_gap", "reason": str(error)})
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
        """Have a generation written whenever the stream has grown enough since this process knew of one."""
        while True:
            await asyncio.sleep(WRITE_CHECK_S)
            if self._unwritten_bytes >= write_after(len(self._writer.guild_ids)):
                await self.write()

    async def write(self) -> None:
        """Write a generation now, unless another process does."""
        self._unwritten_bytes = 0
        try:
            await self._generations.write_next(self._any_shard().get_user_id())
        except* QueueBusyError:
            _log.debug("another process writes a generation", extra={"action": "cache_busy"})
        except* RelayError as errors:
            reason = "; ".join(str(error) for error in errors.exceptions)
            _log.warning("no generation of the cache", extra={"action": "cache_unwritten", "reason": reason})

    def _take(self, entry: StreamEntry) -> None:
        self._next_offset = entry.offset + 1
        self._unwritten_bytes += len(entry.body)
        if entry.event_type not in self._writer.types:
            return
        try:
            frame = _decode(entry)
        except MalformedDispatchError as error:
            self._refuse(entry.event_type, error)
            return
        dispatch = frame.dispatch
        event = self._apply(dispatch.type, self._shard_of(dispatch), frame.payload)
        self._past.note(dispatch.session_id, dispatch.seq, event)
        self._unknown_sessions.discard(dispatch.session_id)
        if dispatch.message_id in self._awaited:
            self._awaited[dispatch.message_id].set()

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

    # Handling

    async def reach(self, dispatch: Dispatch) -> hikari.Event | None:
        """Wait until the cache has come to this dispatch; the event that was made there, if it is still known."""
        if dispatch.type not in self._writer.types:
            return None
        if not self._is_passed(dispatch):
            await self._wait(dispatch)
        return self._past.event(dispatch.message_id)

    def _is_passed(self, dispatch: Dispatch) -> bool:
        return self._past.has_passed(dispatch.session_id, dispatch.seq) or dispatch.session_id in self._unknown_sessions

    async def _wait(self, dispatch: Dispatch) -> None:
        reached = self._awaited.setdefault(dispatch.message_id, asyncio.Event())
        try:
            async with asyncio.timeout(WAIT_S):
                await reached.wait()
        except TimeoutError:
            if len(self._unknown_sessions) < MAX_UNKNOWN_SESSIONS:
                self._unknown_sessions.add(dispatch.session_id)  # one that ended long ago: its backlog does not wait
            _log.debug("the cache did not come so far", extra={"action": "cache_late", "message": dispatch.message_id})
        finally:
            self._awaited.pop(dispatch.message_id, None)


def _decode(entry: StreamEntry) -> Frame:
    frame = decode(
        entry.body,
        event_type=entry.event_type,
        message_id=entry.message_id,
        headers=entry.headers,
        redelivered=False,
    )
    if not isinstance(frame.payload, dict):
        raise MalformedDispatchError("d is not an object")
    return frame
