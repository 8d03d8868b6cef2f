"""The stream of presences that bots set: how to write to it and how to follow it.

docs/decisions/0008-shards-from-afar.md says why it is a stream of its own.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from aio_pika import DeliveryMode, Message

from eventbus import messages
from eventbus.amqp.border import broker_border
from eventbus.amqp.rpc import publish_routed
from eventbus.errors import BrokerLostError, UnroutableError
from eventbus.gateway_payloads import InvalidPayloadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
    from pamqp.common import FieldTable

    from eventbus.amqp.link import Link
    from eventbus.names import Names

_log = logging.getLogger(__name__)

MAX_STREAM_BYTES = 16 << 20
STREAM_ARGUMENTS: Final[FieldTable] = {
    "x-queue-type": "stream",
    "x-max-length-bytes": MAX_STREAM_BYTES,
    "x-stream-max-segment-size-bytes": 2 << 20,
}
PREFETCH = 500
MAX_REMEMBERED_IDS = 10_000


class PresenceWriter:
    """Writes records over a link; the stream is declared on every connect."""

    def __init__(self, link: Link, names: Names) -> None:
        self._names = names
        self._channel: AbstractChannel | None = None
        link.on_connect(self._set_up)

    async def _set_up(self, connection: AbstractConnection) -> None:
        self._channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await self._declare(self._channel)

    async def _declare(self, channel: AbstractChannel) -> None:
        await channel.declare_queue(self._names.presence, durable=True, arguments=STREAM_ARGUMENTS)

    async def append(self, record: messages.PresenceRecord) -> str:
        """Write a record; its id, when the broker has stored it.

        Raises BrokerLostError; the record may stand in the stream nevertheless, now or later.
        """
        channel = self._channel
        if channel is None or channel.is_closed:
            raise BrokerLostError("the presence cannot be stored: the broker is being connected again")
        record_id = secrets.token_hex(8)
        try:
            await publish_routed(channel, "", self._names.presence, _message(record, record_id))
        except UnroutableError as error:
            async with broker_border("the presence stream was deleted"):
                await self._declare(channel)
            raise BrokerLostError("the presence stream was deleted: it is there again") from error
        return record_id


class PresenceReader:
    """Follows the stream over a link, from its beginning: `take(record, offset, bytes before it)` for each record.

    `live` is set when everything has been read that stood in the stream when this process first connected.
    `restart()` is called when the stream was deleted: then it is followed from its beginning again, on the next
    connect. `take` may raise InvalidPayloadError.
    """

    def __init__(
        self,
        link: Link,
        names: Names,
        *,
        take: Callable[[messages.PresenceRecord, int, int], None],
        restart: Callable[[], None],
    ) -> None:
        self._names = names
        self._take = take
        self._restart = restart
        self._next_offset: int | None = None
        self._marker_id = secrets.token_hex(8)
        self._read: OrderedDict[str, None] = OrderedDict()
        self._progress = asyncio.Event()
        self.byte_count = 0
        self.refused_count = 0
        self.is_deleted = False
        self.live = asyncio.Event()
        link.on_connect(self._set_up)

    async def _set_up(self, connection: AbstractConnection) -> None:
        if self.is_deleted:
            self.is_deleted, self._next_offset, self.byte_count = False, None, 0
            self._restart()
        channel = await connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=PREFETCH)
        queue = await channel.declare_queue(self._names.presence, durable=True, arguments=STREAM_ARGUMENTS)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._on_deleted)
        offset = "first" if self._next_offset is None else self._next_offset
        await queue.consume(self._on_delivery, arguments={"x-stream-offset": offset})
        if not self.live.is_set():
            marker = _message(messages.Marker(marker_id=self._marker_id), self._marker_id)
            await channel.default_exchange.publish(marker, self._names.presence, mandatory=False)

    def _on_deleted(self, _: Any) -> None:  # noqa: ANN401 - aiormq's frame
        self.is_deleted = True

    async def _on_delivery(self, delivery: AbstractIncomingMessage) -> None:
        offset = delivery.headers.get("x-stream-offset")
        if isinstance(offset, int):
            self._next_offset = offset + 1
            self._read_one(delivery.body, offset)
        self._remember(delivery.message_id or "")
        try:
            async with broker_border("the presence stream"):
                await delivery.ack()
        except BrokerLostError as error:
            _log.debug("not acknowledged", extra={"action": "stream_ack_lost", "reason": repr(error)})

    def _read_one(self, body: bytes, offset: int) -> None:
        try:
            record = messages.decode(messages.presence_stream_record, body)
            if isinstance(record, messages.PresenceRecord):
                self._take(record, offset, self.byte_count)
        except (messages.MalformedMessageError, InvalidPayloadError) as error:
            self._refuse(str(error))
        self.byte_count += len(body)

    def _refuse(self, reason: str) -> None:
        self.refused_count += 1
        if self.refused_count == 1:  # once: whoever writes such records writes many
            fields = {"action": "presence_refused", "reason": reason[:200]}
            _log.warning("a presence record was refused: it is as if it were not there", extra=fields)

    def _remember(self, record_id: str) -> None:
        if record_id == self._marker_id:
            self.live.set()
        self._read[record_id] = None
        if len(self._read) > MAX_REMEMBERED_IDS:
            self._read.popitem(last=False)
        self._progress.set()
        self._progress = asyncio.Event()

    async def reached(self, record_id: str) -> None:
        """Wait until that record has been read; not later than MAX_REMEMBERED_IDS records behind it."""
        while record_id not in self._read:
            await self._progress.wait()


def _message(record: messages.Message, record_id: str) -> Message:
    return Message(
        messages.encode(record),
        content_type="application/json",
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=record_id,
    )
