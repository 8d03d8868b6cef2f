"""A consumer group's queues: declared, bound to the event types that are wanted, consumed; anew on every connect."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aio_pika import ExchangeType

from eventbus.amqp.border import broker_border
from eventbus.amqp.consume_connection import ensure_open
from eventbus.amqp.deliveries import DEAD_LETTER_ARGUMENTS, QUARANTINE_LANE, Delivery
from eventbus.amqp.layout_queue import LayoutQueue
from eventbus.amqp.partition_exchange import PartitionExchange, find_former_partitions, remove_other_exchanges
from eventbus.errors import BrokerLostError
from eventbus.group_layout import GroupLayout
from eventbus.names import INTERACTION_CREATE, INTERACTION_LANE

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
MOST_UNWANTED = 200
"""Discord has fewer event types: more are made up by whoever can write to the queue."""
ALONE_S = 600.0
"""So long a process must have been the only one of its group until it unbinds: others may only be starting again."""
NOT_PARTITIONED = GroupLayout()
LANES: tuple[str | None, ...] = (None, INTERACTION_LANE, QUARANTINE_LANE)


def slot_count(lane: str | None, prefetch_count: int) -> int:
    """How many deliveries of `lane` a process handles at once: in quarantine one, so that it alone is to blame."""
    return 1 if lane == QUARANTINE_LANE else prefetch_count


class GroupQueues:
    """The queues of one group on one link. Of a partitioned group, all but the partitions: it fills those.

    `wanted()` gives the event types to bind; `take(lane, delivery)` is called for every delivery, in order, and must
    not block. The processes of a group share the bindings, and one does not know what another wants: a type that is not
    wanted, or no longer, for ALONE_S, is unbound by a process that has been the only one of its group for as long.
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
        layout: GroupLayout = NOT_PARTITIONED,
        shard_count: Callable[[], int] = lambda: 1,
    ) -> None:
        self._names = names
        self._layout = LayoutQueue(names, group, layout)
        self._partition_count = layout.partition_count if layout.is_partitioned else None
        self._exchange = PartitionExchange(names, group, self._partition_count) if self._partition_count else None
        self._shard_count = shard_count
        self._placed_count = 0
        self._cleared: frozenset[str] = frozenset()
        self._group = group
        self._prefetch_count = prefetch_count
        self._wanted = wanted
        self._take = take
        self._lock = asyncio.Lock()
        self._connection: ConsumeConnection | None = None
        self._consumptions: list[Consumption] = []
        self._bound: frozenset[str] = frozenset()
        self._unwanted: dict[str, float] = {}
        self._alone_since: float | None = None
        self._is_stopped = False
        link.on_connect(self._set_up)

    @property
    def bound(self) -> frozenset[str]:
        """The event types that this process bound."""
        return self._bound

    @property
    def placed_shard_count(self) -> int:
        """How many shards of the fleet partitions were bound for."""
        return self._placed_count

    def note_unwanted(self, event_type: str) -> None:
        """Deliveries come of a type that nobody here wants. Of no end of types, only some are looked after."""
        if len(self._unwanted) < MOST_UNWANTED:
            self._unwanted.setdefault(event_type, asyncio.get_running_loop().time())

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
        await self._layout.claim(connection)
        await connection.declare_queue(self._names.dead(self._group), DEAD_LETTER_ARGUMENTS)
        for lane in LANES:
            await connection.declare_queue(self._names.group(self._group, lane), self._arguments)
        async with self._lock:
            self._connection, self._alone_since = connection, None
            if self._exchange is not None:
                await self._exchange.declare(connection, self._arguments)
                self._placed_count = 0
            await self._bind(self._wanted(), again=True)
            former = await find_former_partitions(connection, self._names, self._group, self._partition_count or 0)
            if former or self._exchange is not None:
                await remove_other_exchanges(connection, self._names, self._group, self._partition_count)
        self._consumptions = []
        for lane, name in (*((lane, None) for lane in LANES), *((None, name) for name in former)):
            if not self._is_stopped:
                consumption = await self._consume(connection, lane, name)
                self._consumptions.append(consumption)
        if self._is_stopped:  # meanwhile
            await self.stop()

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
        await self._place(connection, again=again)
        for event_type in coming:  # without waiting for answers: a busy process would take many seconds
            self._bind_unanswered(connection, event_type)
        now = asyncio.get_running_loop().time()
        unwanted = (self._unwanted.keys() | self._bound) - wanted
        self._unwanted = {event_type: self._unwanted.get(event_type, now) for event_type in unwanted}
        if await self._was_long_alone(connection):
            await self._unbind_unwanted(connection)
        if coming:  # the answer to this one comes behind all others, or their refusal does
            await self._bind_answered(connection, coming[-1])
        self._bound = wanted
        await self._clear_shared(connection, wanted)

    async def _place(self, connection: ConsumeConnection, *, again: bool) -> None:
        """Bind partitions to shards, if there are new ones or `again`."""
        shard_count = self._shard_count()
        if self._exchange is not None and (again or shard_count > self._placed_count):
            await self._exchange.place(connection, shard_count)
            if shard_count != self._placed_count:
                _log.info("shards have partitions", extra={"action": "shards_placed", "count": shard_count})
            self._placed_count = shard_count

    def _partitions_of(self, event_type: str) -> PartitionExchange | None:
        return None if event_type == INTERACTION_CREATE else self._exchange

    def _bind_unanswered(self, connection: ConsumeConnection, event_type: str) -> None:
        exchange, partitions = self._names.event(event_type), self._partitions_of(event_type)
        connection.declare_unanswered(exchange)
        if partitions is not None:
            partitions.bind_unanswered(connection, exchange)
        else:
            connection.bind_unanswered(self._queue_of(event_type), exchange, "#")

    async def _bind_answered(self, connection: ConsumeConnection, event_type: str) -> None:
        exchange, partitions = self._names.event(event_type), self._partitions_of(event_type)
        if partitions is not None:
            await partitions.bind(connection, exchange)
        else:
            await connection.bind(self._queue_of(event_type), exchange, "#")

    async def _was_long_alone(self, connection: ConsumeConnection) -> bool:
        """Whether nobody else may want what this process does not: asked as often as bindings are looked after."""
        now = asyncio.get_running_loop().time()
        if await self._layout.process_count(connection) > 1:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        return self._alone_since is not None and now - self._alone_since >= ALONE_S

    async def _unbind_unwanted(self, connection: ConsumeConnection) -> None:
        """Those that were so for long, as long as no other process of the group runs, which might want them.

        One may have run between two looks, and may be starting again.
        """
        noted_by = asyncio.get_running_loop().time() - ALONE_S
        for event_type in sorted(event_type for event_type, since in self._unwanted.items() if since <= noted_by):
            if await self._layout.process_count(connection) > 1:
                return
            await self._unbind(connection, event_type)
            if await self._layout.process_count(connection) > 1:  # one came just now, and may have bound it before
                self._bind_unanswered(connection, event_type)
                return
            del self._unwanted[event_type]

    async def _unbind(self, connection: ConsumeConnection, event_type: str) -> None:
        exchange, partitions = self._names.event(event_type), self._partitions_of(event_type)
        if partitions is not None:
            await partitions.unbind(connection, exchange)
        await connection.unbind(self._queue_of(event_type), exchange, "#")  # of partitions, too: from before them

    async def _clear_shared(self, connection: ConsumeConnection, wanted: frozenset[str]) -> None:
        """What the group bound before it was partitioned goes, but only now: rather some dispatches twice than none."""
        if self._exchange is None:
            return
        for event_type in sorted(wanted - self._cleared - {INTERACTION_CREATE}):
            await connection.unbind(self._queue_of(event_type), self._names.event(event_type), "#")
        self._cleared |= wanted

    def _queue_of(self, event_type: str) -> str:
        return self._names.group(self._group, INTERACTION_LANE if event_type == INTERACTION_CREATE else None)

    async def _consume(self, connection: ConsumeConnection, lane: str | None, name: str | None = None) -> Consumption:
        """Consume a lane's queue; with `name`, a former partition as if it were that queue."""
        queue = name or self._names.group(self._group, lane)

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
