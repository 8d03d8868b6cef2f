"""Keeps Discord showing what the presence stream says, on all shards of a worker."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from eventbus import messages
from eventbus.amqp.presence_stream import MAX_STREAM_BYTES, PresenceReader, PresenceWriter
from eventbus.errors import BrokerLostError
from eventbus.messages import CommandSent, ErrorCode, Failure

if TYPE_CHECKING:
    from eventbus.amqp.link import Link
    from eventbus.names import Names
    from gateway_workers.held_shards import HeldShards
    from gateway_workers.presence_book import PresenceBook

_log = logging.getLogger(__name__)

INTERVAL_S = 0.25
LIVE_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 3.0
COPY_INTERVAL_S = 60.0
COPY_AFTER_BYTES = MAX_STREAM_BYTES // 4
"""What stands so far behind is copied to the end: the stream forgets from its beginning."""


class WorkerPresences:
    """One worker's; run `keep()` and `keep_copies()` as tasks."""

    def __init__(self, link: Link, names: Names, book: PresenceBook, shards: HeldShards) -> None:
        self._book = book
        self._shards = shards
        self._writer = PresenceWriter(link, names)
        self._reader = PresenceReader(link, names, take=self._take, restart=book.clear)

    @property
    def is_deleted(self) -> bool:
        """Whether somebody deleted the stream: it comes back with the link's next connection."""
        return self._reader.is_deleted

    def _take(self, record: messages.PresenceRecord, offset: int, written_at: int) -> None:
        self._book.take(record, offset, written_at=written_at)

    async def known(self) -> None:
        """Wait until what was set before is known, within a bound: an Identify can do without."""
        try:
            async with asyncio.timeout(LIVE_TIMEOUT_S):
                await self._reader.live.wait()
        except TimeoutError:
            text = "the presence stream is slow: sessions begin without a presence, and get it later"
            _log.warning(text, extra={"action": "presences_late", "timeout_s": LIVE_TIMEOUT_S})

    async def keep(self) -> None:
        """Send what is due, for ever: only the newest presence of a shard, however many came."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            for shard in self._shards:
                if shard.is_presence_due:
                    await shard.show_presence()

    async def apply(self, request: messages.ApplyPresence) -> CommandSent | Failure:
        """Show what the stream says up to a record."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                await self._reader.reached(request.record_id)
        except TimeoutError:
            message = f"record {request.record_id} of the presence stream has not come: it is shown when it comes"
            return Failure(code=ErrorCode.TIMED_OUT, message=message, retry_after_s=1.0)
        shard = self._shards.get(request.shard)
        if shard is None:
            message = f"shard {request.shard} is not held here any more: try again"
            return Failure(code=ErrorCode.NO_HOLDER, message=message)
        return await shard.show_presence()

    async def keep_copies(self) -> None:
        """Copy what the stream is about to forget to its end, for ever."""
        while True:
            await asyncio.sleep(COPY_INTERVAL_S)
            held = [shard.lease.shard for shard in self._shards]
            copies = self._book.fading(held, self._reader.byte_count - COPY_AFTER_BYTES)
            try:
                for copy in copies:
                    await self._writer.append(copy)
            except BrokerLostError as error:
                _log.debug("presence not copied", extra={"action": "presence_not_copied", "reason": str(error)})
