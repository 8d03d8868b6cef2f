"""A consumer group's queues: declared, bound to the event types that are wanted, consumed; anew on every connect."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aio_pika import ExchangeType

from eventbus.amqp.border import broker_border
from eventbus.amqp.consume_connection import ensure_open
from eventbus.amqp.deliveries import DEAD_LETTER_ARGUMENTS, QUARANTINE_LANE, Delivery
from eventbus.errors import BrokerLostError
from eventbus.names import INTERACTION_LANE

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractConnection
    from pamqp.common import FieldTable

    from eventbus.amqp.consume_connection import ConsumeConnection, Consumption, Tagged
    from eventbus.amqp.link import DeliveryLink, Link
    from eventbus.names import Names

_log = logging.getLogger(__name__)

METHOD_TIMEOUT_S = 10.0
SYNC_TIMEOUT_S = 600.0
"""For all bindings: a busy connection answers each method late, and a call that is given up closes its channel."""
DELIVERY_LIMIT = 20
INTERACTION_CREATE = "INTERACTION_CREATE"
LANES: tuple[str | None, ...] = (None, INTERACTION_LANE, QUARANTINE_LANE)


def slot_count(lane: str | None, prefetch_count: int) -> int:
    """How many deliveries of `lane` a process handles at once: in quarantine one, so that it alone is to blame."""
    return 1 if lane == QUARANTINE_LANE else prefetch_count


class GroupQueues:
    """The queues of one group on one link.

    `wanted()` gives the event types to bind; `take(lane, delivery)` is called for every delivery, in order, and must
    not block. A type is unbound only after it was wanted in this process: what an earlier process bound stays.
    """

    def __init__(
        self,
        link: DeliveryLink,
        names: Names,
        group: str,
        *,
        prefetch_count: int,
        wanted: Callable[[], frozenset[str]],
        take: Callable[[str | None, Delivery], None],
    ) -> None:
        self._names = names
        self._group = group
        self._prefetch_count = prefetch_count
        self._wanted = wanted
        self._take = take
        self._lock = asyncio.Lock()
        self._connection: ConsumeConnection | None = None
        self._consumptions: list[Consumption] = []
        self._bound: frozenset[str] = frozenset()
        self._is_stopped = False
        link.on_connect(self._set_up)

    @property
    def bound(self) -> frozenset[str]:
        """The event types that this process bound."""
        return self._bound

    async def sync(self, *, again: bool = False) -> None:
        """Bind what came to be wanted, or `again` all that is; unbind what is no longer.

        Raises BrokerLostError: the next connect does it.
        """
        what = f"the bindings of group {self._group!r} were not changed"
        async with self._lock, broker_border(what, timeout_s=SYNC_TIMEOUT_S):
            await self._bind(self._wanted(), again=again)

    async def stop(self) -> None:
        """Take no more deliveries; those that came can still be settled."""
        self._is_stopped = True
        consumptions, self._consumptions = self._consumptions, []
        for consumption in consumptions:
            try:
                await consumption.connection.cancel(consumption)
            except BrokerLostError as error:
                _log.debug("not cancelled", extra={"action": "cancel_failed", "reason": repr(error)})

    async def _set_up(self, connection: ConsumeConnection) -> None:
        await connection.declare_queue(self._names.dead(self._group), DEAD_LETTER_ARGUMENTS)
        for lane in LANES:
            await connection.declare_queue(self._names.group(self._group, lane), self._arguments)
        async with self._lock:
            self._connection = connection
            await self._bind(self._wanted(), again=True)
        if not self._is_stopped:
            self._consumptions = [await self._consume(connection, lane) for lane in LANES]

    @property
    def _arguments(self) -> FieldTable:
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self._names.dead(self._group),
        }

    async def _bind(self, wanted: frozenset[str], *, again: bool) -> None:
        connection = ensure_open(self._connection)
        coming = sorted(wanted if again else wanted - self._bound)
        for event_type in coming:  # without waiting for answers: a busy process would take many seconds
            connection.bind_unanswered(self._queue_of(event_type), self._names.event(event_type), "#")
        for event_type in sorted(self._bound - wanted):
            await connection.unbind(self._queue_of(event_type), self._names.event(event_type), "#")
        if coming:  # the answer to this one comes behind all others, or their refusal does
            await connection.bind(self._queue_of(coming[-1]), self._names.event(coming[-1]), "#")
        self._bound = wanted

    def _queue_of(self, event_type: str) -> str:
        return self._names.group(self._group, INTERACTION_LANE if event_type == INTERACTION_CREATE else None)

    async def _consume(self, connection: ConsumeConnection, lane: str | None) -> Consumption:
        queue = self._names.group(self._group, lane)

        def take(tagged: Tagged) -> None:
            self._take(lane, Delivery(queue, tagged.message, tagged))

        return await connection.consume(queue, take, prefetch_count=slot_count(lane, self._prefetch_count))


class CommandExchange:
    """Declares `ns.shard`, because a publish to a missing exchange would close the channel."""

    def __init__(self, link: Link, names: Names) -> None:
        self._name = names.shard
        link.on_connect(self._set_up)

    async def _set_up(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=False)
        await channel.declare_exchange(self._name, ExchangeType.DIRECT, durable=True, timeout=METHOD_TIMEOUT_S)
        await channel.close()
