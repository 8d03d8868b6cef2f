"""The stream of checkpoints, grants and permits: what it is declared with, how to follow it and how to write to it.

docs/decisions/0004-checkpoints-in-a-stream.md says why it is a stream.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Final

from aio_pika import DeliveryMode, Message

from eventbus import messages
from eventbus.amqp.border import broker_border
from eventbus.amqp.cache_streams import MAX_HOLE
from eventbus.amqp.rpc import publish_routed
from eventbus.errors import BrokerLostError, UnroutableError
from eventbus.refusal_log import RefusalLog
from eventbus.session_records import Refusal, read_record

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
    from pamqp.common import FieldTable

    from eventbus.amqp.link import Link
    from eventbus.names import Names

_log = logging.getLogger(__name__)

STREAM_ARGUMENTS: Final[FieldTable] = {
    "x-queue-type": "stream",
    "x-max-length-bytes": 8 << 20,
    "x-stream-max-segment-size-bytes": 1 << 20,
}
PREFETCH = 500
ACK_EVERY = 100
"""While an old stream is read: the acknowledgement of each record alone would take most of the time."""
APPEND_TIMEOUT_S = 4.0  # within the time that a request waits for its reply


class SessionStream:
    """Follows the stream over a link, from its beginning; after a reconnect, behind what was read.

    One that was deleted is declared again and followed from its beginning. `is_live`: everything that stood in the
    stream when this process first connected, or when the stream came back, has been read.
    """

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names
        self._followers: list[Callable[[messages.SessionRecord], None]] = []
        self._on_losses: list[Callable[[], None]] = []
        self._next_offset: int | None = None
        self._last: tuple[str, bytes] | None = None  # what was read last: read again after a reconnect, to be sure
        self._is_attached = False
        self._unacknowledged_count = 0
        self._reading: object = None
        self._awaited: dict[str, asyncio.Event] = {}
        self._live_from = secrets.token_hex(8)
        self._channel: AbstractChannel | None = None
        self._refusals = RefusalLog("a record of the session stream was refused", action="record_refused")
        self.is_live = False
        link.on_connect(self._set_up)

    def follow(
        self, on_record: Callable[[messages.SessionRecord], None], *, on_loss: Callable[[], None] | None = None
    ) -> None:
        """Have `on_record(record)` called for all there is and for what comes; before the link is opened.

        `on_loss()` is called before what follows a gap: records may never have been read, because the stream was
        deleted, or had grown too much while the broker was out of reach.
        """
        self._followers.append(on_record)
        if on_loss is not None:
            self._on_losses.append(on_loss)

    async def _set_up(self, connection: AbstractConnection) -> None:
        self._channel = await self._link.open_channel(connection, confirms=True)
        channel = await self._link.open_channel(connection, confirms=False, on_cancel=self._start_over)
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.declare_queue(self._names.sessions, durable=True, arguments=STREAM_ARGUMENTS)
        reading = self._reading = object()

        async def take(delivery: AbstractIncomingMessage) -> None:
            if reading is self._reading:  # else late, of a connection or a stream that is gone
                await self._on_delivery(delivery)

        offset = "first" if self._next_offset is None else self._next_offset - 1
        self._unacknowledged_count, self._is_attached = 0, self._next_offset is None
        await queue.consume(take, arguments={"x-stream-offset": offset})
        if not self.is_live:
            marker = _message(messages.Marker(marker_id=self._live_from), self._live_from)
            await channel.default_exchange.publish(marker, self._names.sessions, mandatory=False)

    def _start_over(self) -> None:
        """The stream was deleted: the next connect follows a new one, whose offsets begin anew."""
        self._reading = self._next_offset = self._last = None
        self._live_from, self.is_live = secrets.token_hex(8), False
        self._tell_of_loss()

    def _tell_of_loss(self) -> None:
        for on_loss in self._on_losses:
            on_loss()

    async def _on_delivery(self, delivery: AbstractIncomingMessage) -> None:
        found = delivery.headers.get("x-stream-offset")
        offset = found if isinstance(found, int) else -1
        is_read, self._is_attached = not self._is_attached and self._is_last(offset, delivery), True
        try:
            if not is_read:
                self._note_offset(offset)
                self._take(delivery.body)
        except Exception as error:  # noqa: BLE001 - the border of one delivery: the stream is read on
            self.refuse(Refusal("failed", repr(error), "it is as if it were not there"))
        self._last = (delivery.message_id or "", delivery.body)
        self._reach(delivery.message_id or "")
        self._unacknowledged_count += 1
        if not self.is_live and self._unacknowledged_count < ACK_EVERY:
            return
        self._unacknowledged_count = 0
        try:
            async with broker_border("the session stream"):
                await delivery.ack(multiple=True)
        except BrokerLostError as error:
            _log.debug("not acknowledged", extra={"action": "stream_ack_lost", "reason": repr(error)})

    def _is_last(self, offset: int, delivery: AbstractIncomingMessage) -> bool:
        """Whether the first delivery after a reconnect is what was read last; else records were missed."""
        is_last = offset + 1 == self._next_offset and self._last == (delivery.message_id or "", delivery.body)
        if not is_last:
            self._tell_of_loss()
        return is_last

    def _note_offset(self, offset: int) -> None:
        if offset < 0:
            return
        if self._next_offset is not None and offset > self._next_offset + MAX_HOLE:
            self._tell_of_loss()
        self._next_offset = offset + 1

    def _take(self, body: bytes) -> None:
        reading = read_record(body)
        for refusal in reading.refusals:
            self.refuse(refusal)
        if reading.record is not None:
            for on_record in self._followers:
                on_record(reading.record)

    def _reach(self, record_id: str) -> None:
        if record_id == self._live_from and not self.is_live:
            self.is_live = True
            _log.info("the session stream is read: from now on this process can lead", extra={"action": "caught_up"})
        if record_id in self._awaited:
            self._awaited[record_id].set()

    def refuse(self, refusal: Refusal) -> None:
        """Count what is not believed; report it once for each kind and shard."""
        self._refusals.refuse(refusal.key, record=refusal.key, reason=refusal.reason, follows=refusal.consequence)

    async def append(self, record: messages.Message) -> None:
        """Write a record and wait until it is confirmed and read, so that all that stands before it is known, too.

        Raises BrokerLostError if that takes too long: the record may stand in the stream nevertheless, now or later.
        """
        if self._channel is None or self._channel.is_closed:
            raise BrokerLostError("the session stream cannot be written: the broker is being connected again")
        record_id = secrets.token_hex(8)
        self._awaited[record_id] = asyncio.Event()
        place, is_confirmed = self._next_offset, False
        try:
            async with broker_border("the session stream does not take a record", timeout_s=APPEND_TIMEOUT_S):
                await publish_routed(self._channel, "", self._names.sessions, _message(record, record_id))
                is_confirmed = True
                await self._awaited[record_id].wait()
        except UnroutableError as error:
            await self._follow_anew("the session stream was deleted")
            raise BrokerLostError("the session stream was deleted: it is being made again") from error
        except BrokerLostError:
            # A stream that was made anew while we were away has lower offsets than ours: nothing of it is delivered.
            if is_confirmed and place is not None and place == self._next_offset and not self._channel.is_closed:
                await self._follow_anew("the session stream gives nothing that is written to it")
            raise
        finally:
            del self._awaited[record_id]

    async def _follow_anew(self, reason: str) -> None:
        self._start_over()
        await self._link.restart(reason)


def _message(record: messages.Message, record_id: str) -> Message:
    return Message(
        messages.encode(record),
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=record_id,
    )
