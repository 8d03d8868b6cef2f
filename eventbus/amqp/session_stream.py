"""The stream of checkpoints: what it is declared with, and how to follow it.

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
from eventbus.amqp.rpc import publish_routed
from eventbus.errors import BrokerLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
    from pamqp.common import FieldTable

    from eventbus.amqp.link import Link
    from eventbus.names import Names

_log = logging.getLogger(__name__)

STREAM_ARGUMENTS: Final[FieldTable] = {
    "x-queue-type": "stream",
    "x-max-length-bytes": 32 << 20,
    "x-stream-max-segment-size-bytes": 4 << 20,
}
PREFETCH = 500
MARKER_TIMEOUT_S = 5.0


class SessionStream:
    """Follows the stream over a link, from its beginning; after a reconnect, behind what was read."""

    def __init__(self, link: Link, names: Names) -> None:
        self._names = names
        self._followers: list[Callable[[messages.Checkpoints], None]] = []
        self._next_offset: int | None = None
        self._markers: dict[str, asyncio.Event] = {}
        self._channel: AbstractChannel | None = None
        self.refused_count = 0
        link.on_connect(self._set_up)

    def follow(self, on_checkpoints: Callable[[messages.Checkpoints], None]) -> None:
        """Have `on_checkpoints(record)` called for all there is and for what comes; before the link is opened."""
        self._followers.append(on_checkpoints)

    async def _set_up(self, connection: AbstractConnection) -> None:
        self._channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        reading = await connection.channel()
        await reading.set_qos(prefetch_count=PREFETCH)
        queue = await reading.declare_queue(self._names.sessions, durable=True, arguments=STREAM_ARGUMENTS)
        offset = "first" if self._next_offset is None else self._next_offset
        await queue.consume(self._on_record, arguments={"x-stream-offset": offset})

    async def _on_record(self, delivery: AbstractIncomingMessage) -> None:
        offset = delivery.headers.get("x-stream-offset")
        if isinstance(offset, int):
            self._next_offset = offset + 1
        try:
            record = messages.decode(messages.session_record, delivery.body)
        except messages.MalformedMessageError as error:
            self._refuse(str(error))
        else:
            if isinstance(record, messages.Checkpoints):
                for on_checkpoints in self._followers:
                    on_checkpoints(record)
            elif record.marker_id in self._markers:
                self._markers[record.marker_id].set()
        await delivery.ack()

    def _refuse(self, reason: str) -> None:
        self.refused_count += 1
        if self.refused_count == 1:
            _log.warning("a checkpoint was refused", extra={"action": "checkpoint_refused", "reason": reason})

    async def catch_up(self) -> None:
        """Read everything that stands in the stream now. Raises BrokerLostError if that is not possible in time."""
        if self._channel is None or self._channel.is_closed:
            raise BrokerLostError("the session stream cannot be read: the broker is being connected again")
        marker_id = secrets.token_hex(8)
        self._markers[marker_id] = asyncio.Event()
        body = messages.encode(messages.Marker(marker_id=marker_id))
        message = Message(body, content_type="application/json", delivery_mode=DeliveryMode.PERSISTENT)
        try:
            async with broker_border("the session stream could not be read", timeout_s=MARKER_TIMEOUT_S):
                await publish_routed(self._channel, "", self._names.sessions, message)
                await self._markers[marker_id].wait()
        finally:
            del self._markers[marker_id]
