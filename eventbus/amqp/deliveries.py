"""What a consumer takes from a queue, and how it is settled: exactly once, or it comes again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from aio_pika import DeliveryMode

from eventbus.amqp.border import broker_border
from eventbus.amqp.exact_message import ExactMessage
from eventbus.amqp.store_channel import StoreChannel
from eventbus.errors import UnroutableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aio_pika.abc import AbstractChannel, AbstractConnection
    from pamqp.common import FieldTable

    from eventbus.amqp.consume_connection import Tagged
    from eventbus.amqp.link import Link
    from eventbus.names import Names

SETTLE_TIMEOUT_S = 10.0
MAX_DEAD_LETTERS = 100_000
MAX_REASON_LENGTH = 1000
MAX_READINGS = 1_000_000
"""Reading letters counts as delivering them, and RabbitMQ 4 drops what was delivered 20 times unless told otherwise."""
DEAD_LETTER_ARGUMENTS: FieldTable = {
    "x-queue-type": "quorum",
    "x-max-length": MAX_DEAD_LETTERS,
    "x-overflow": "drop-head",
    "x-delivery-limit": MAX_READINGS,
}
QUARANTINE_LANE = "quarantine"
_ATTEMPTS_HEADER = "x-delivery-count"
HEADERS_OF_A_COPY = frozenset({"failed_attempts", "unsettled_deliveries"})


class Received(Protocol):
    """A message as a client library gives it."""

    @property
    def body(self) -> bytes: ...  # noqa: D102 - AMQP's words
    @property
    def headers(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def content_type(self) -> str | None: ...  # noqa: D102
    @property
    def correlation_id(self) -> str | None: ...  # noqa: D102
    @property
    def message_id(self) -> str | None: ...  # noqa: D102
    @property
    def reply_to(self) -> str | None: ...  # noqa: D102
    @property
    def type(self) -> str | None: ...  # noqa: D102
    @property
    def redelivered(self) -> bool | None: ...  # noqa: D102


class Progress(Protocol):
    """Who must know what of a partition has started, and what has ended."""

    def begin(self, delivery: Delivery) -> bool:
        """Its handlers are about to start; False if they must not."""

    def end(self, delivery: Delivery) -> None:
        """Nothing is done with it any more."""

    def is_lost(self, delivery: Delivery) -> bool:
        """Whether it was given back, unstarted."""


@dataclass(frozen=True, slots=True, eq=False)
class Delivery:
    """A message from `queue`. Settle it by `ack` or `requeue`; if its connection is gone, the broker delivers it again.

    `tagged` is the way to settle it, None for what was settled when it was delivered.
    """

    queue: str
    message: Received = field(repr=False)
    tagged: Tagged | None = field(default=None, repr=False)
    progress: Progress | None = field(default=None, repr=False)

    def begin(self) -> bool:
        """Its handlers are about to start. False: another process starts them, so that the order is kept."""
        return self.progress is None or self.progress.begin(self)

    def end(self) -> None:
        """Nothing is done with it any more, settled or not."""
        if self.progress is not None:
            self.progress.end(self)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return self.message.body

    @property
    def event_type(self) -> str | None:
        """The property `type`."""
        return self.message.type

    @property
    def message_id(self) -> str | None:
        """The property `message_id`."""
        return self.message.message_id

    @property
    def headers(self) -> Mapping[str, Any]:
        """Headers, as the publisher and the broker set them."""
        return self.message.headers

    @property
    def is_redelivered(self) -> bool:
        """Whether the broker delivered it before."""
        return bool(self.message.redelivered)

    @property
    def attempts(self) -> int:
        """How often it was delivered, this time included, as far as the queue counts."""
        count = self.message.headers.get(_ATTEMPTS_HEADER, 0)
        return (count if isinstance(count, int) else 0) + 1

    @property
    def unsettled_count(self) -> int:
        """How often it was delivered before and never settled, as far as the queue counts."""
        return self.attempts - 1

    @property
    def is_gone(self) -> bool:
        """Whether its connection is closed, or it was given back, so that it cannot be settled any more."""
        is_lost = self.progress is not None and self.progress.is_lost(self)
        return is_lost or (self.tagged is not None and self.tagged.is_gone)

    def ack(self) -> bool:
        """Have the broker forget it; False if it comes again because the connection is gone."""
        return self._settle(requeue=False)

    def requeue(self) -> bool:
        """Give it back to the queue; False if the connection is gone."""
        return self._settle(requeue=True)

    def _settle(self, *, requeue: bool) -> bool:
        if self.progress is not None and self.progress.is_lost(self):
            return False
        return self.tagged is None or self.tagged.settle(requeue=requeue)


class DeadLetters:
    """The dead letters of one group: bounded, the oldest dropped first."""

    def __init__(self, link: Link, names: Names, group: str) -> None:
        self._queue = names.dead(group)
        self._channel = StoreChannel(link)
        link.on_connect(self._set_up)

    async def _set_up(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=False)
        await declare_dead_letters(channel, self._queue)
        await channel.close()

    async def put(self, delivery: Delivery, reason: str, *, attempts: int) -> None:
        """Store a copy, with reason, origin and attempts in its headers, and wait for the confirm.

        Raises BrokerLostError or UnroutableError; then nothing is known to be stored.
        """
        added = {"reason": reason[:MAX_REASON_LENGTH], "origin": delivery.queue, "attempts": attempts}
        message = copy_of(delivery, added)
        try:
            await self._channel.store(message, routing_key=self._queue)
        except UnroutableError:  # deleted behind our back
            async with broker_border("the queue of dead letters was not declared", timeout_s=SETTLE_TIMEOUT_S):
                await declare_dead_letters(await self._channel.open(), self._queue)
            await self._channel.store(message, routing_key=self._queue)


class Quarantine:
    """The lane of one group whose dispatches are handled alone."""

    def __init__(self, link: Link, names: Names, group: str) -> None:
        self._queue = names.group(group, QUARANTINE_LANE)
        self._channel = StoreChannel(link)

    async def put(self, delivery: Delivery, *, unsettled_count: int) -> None:
        """Store a copy that says how often the dispatch was delivered and never settled, and wait for the confirm.

        Raises BrokerLostError or UnroutableError; then nothing is known to be stored.
        """
        message = copy_of(delivery, {"unsettled_deliveries": unsettled_count})
        await self._channel.store(message, routing_key=self._queue)


def copy_of(delivery: Delivery, added: Mapping[str, Any]) -> ExactMessage:
    """The dispatch again, with `added` headers instead of what the broker and former copies say of its way."""
    kept = {
        name: value
        for name, value in delivery.headers.items()
        if name not in HEADERS_OF_A_COPY and not name.startswith("x-")
    }
    return ExactMessage(
        delivery.body,
        headers={**kept, **added},
        content_type=delivery.message.content_type,
        message_id=delivery.message_id,
        type=delivery.event_type,
        delivery_mode=DeliveryMode.PERSISTENT,
    )


async def declare_dead_letters(channel: AbstractChannel, queue: str) -> None:
    """Declare a group's queue of dead letters."""
    await channel.declare_queue(queue, durable=True, arguments=DEAD_LETTER_ARGUMENTS, timeout=SETTLE_TIMEOUT_S)
