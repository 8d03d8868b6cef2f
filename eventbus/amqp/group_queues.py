"""A consumer group's queues: declared, bound to the event types that are wanted, consumed; anew on every connect."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import aiormq.exceptions
from aio_pika import ExchangeType

from eventbus.amqp.border import broker_border
from eventbus.amqp.deliveries import QUARANTINE_LANE, Delivery, declare_dead_letters
from eventbus.amqp.layout_queue import LayoutQueue
from eventbus.amqp.link import close_quietly
from eventbus.amqp.partition_exchange import PartitionExchange, find_former_partitions, remove_other_exchanges
from eventbus.errors import BrokerLostError
from eventbus.group_layout import GroupLayout
from eventbus.names import INTERACTION_LANE

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
    from pamqp.common import FieldTable

    from eventbus.amqp.link import Link
    from eventbus.names import Names

_log = logging.getLogger(__name__)

METHOD_TIMEOUT_S = 10.0
SYNC_TIMEOUT_S = 600.0
"""For all bindings: a busy connection answers each method late, and a call that is given up closes its channel."""
DELIVERY_LIMIT = 20
INTERACTION_CREATE = "INTERACTION_CREATE"
NOT_PARTITIONED = GroupLayout()
LANES: tuple[str | None, ...] = (None, INTERACTION_LANE, QUARANTINE_LANE)


def slot_count(lane: str | None, prefetch_count: int) -> int:
    """How many deliveries of `lane` a process handles at once: in quarantine one, so that it alone is to blame."""
    return 1 if lane == QUARANTINE_LANE else prefetch_count


class GroupQueues:
    """The queues of one group on one link. Of a partitioned group, all but the partitions: it fills those.

    `wanted()` gives the event types to bind; `take(lane, delivery)` is called for every delivery, in order, and must
    not block. A type is unbound only after it was wanted in this process: what an earlier process bound stays.
    """

    def __init__(
        self,
        link: Link,
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
        self._link = link
        self._layout = LayoutQueue(link, names, group, layout)
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
        self._queues: dict[str | None, AbstractQueue] = {}
        self._consumers: list[tuple[AbstractQueue, str]] = []
        self._bound: frozenset[str] = frozenset()
        self._closers: set[asyncio.Task[None]] = set()
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
        consumers, self._consumers = self._consumers, []
        for queue, tag in consumers:
            try:
                async with broker_border("cancel", timeout_s=METHOD_TIMEOUT_S):
                    await queue.cancel(tag)
            except BrokerLostError as error:
                _log.debug("not cancelled", extra={"action": "cancel_failed", "reason": repr(error)})

    async def _set_up(self, connection: AbstractConnection) -> None:
        topology = await connection.channel(publisher_confirms=False)
        self._watch(connection, topology)
        await self._layout.claim(connection)
        await declare_dead_letters(topology, self._names.dead(self._group))
        async with self._lock:
            self._queues = {lane: await self._declare(topology, lane) for lane in LANES}
            if self._exchange is not None:
                await self._exchange.declare(topology, self._arguments())
                self._placed_count = 0
            await self._bind(self._wanted(), again=True)
            former = await find_former_partitions(connection, self._names, self._group, self._partition_count or 0)
            if former or self._exchange is not None:
                await remove_other_exchanges(topology, self._names, self._group, self._partition_count)
        if not self._is_stopped:
            self._consumers = [await self._consume(connection, lane) for lane in LANES]
            self._consumers += [await self._consume(connection, None, name) for name in former]

    def _arguments(self) -> FieldTable:
        return {
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self._names.dead(self._group),
        }

    async def _declare(self, channel: AbstractChannel, lane: str | None) -> AbstractQueue:
        name = self._names.group(self._group, lane)
        return await channel.declare_queue(name, durable=True, arguments=self._arguments(), timeout=METHOD_TIMEOUT_S)

    async def _bind(self, wanted: frozenset[str], *, again: bool) -> None:
        coming = sorted(wanted if again else wanted - self._bound)
        await self._place(again=again)
        for event_type in coming:
            await self._bind_unanswered(event_type)
        for event_type in sorted(self._bound - wanted):
            await self._unbind(event_type)
        if coming:  # the answer to this one comes behind all others, or their refusal does
            await self._bind_answered(coming[-1])
        self._bound = wanted
        await self._clear_shared(wanted)

    async def _place(self, *, again: bool) -> None:
        """Bind partitions to shards, if there are new ones or `again`."""
        shard_count = self._shard_count()
        if self._exchange is not None and (again or shard_count > self._placed_count):
            await self._exchange.place(self._queue_of("").channel, shard_count)
            if shard_count != self._placed_count:
                _log.info("shards have partitions", extra={"action": "shards_placed", "count": shard_count})
            self._placed_count = shard_count

    async def _bind_unanswered(self, event_type: str) -> None:
        """Without waiting for answers: a round trip for each would take a busy process many seconds."""
        queue, exchange = self._queue_of(event_type), self._names.event(event_type)
        channel = await queue.channel.get_underlay_channel()
        await channel.exchange_declare(exchange, exchange_type="topic", durable=True, nowait=True)
        if self._exchange is not None and event_type != INTERACTION_CREATE:
            await self._exchange.bind_unanswered(queue.channel, event_type)
        else:
            await channel.queue_bind(queue.name, exchange, "#", nowait=True)

    async def _bind_answered(self, event_type: str) -> None:
        queue = self._queue_of(event_type)
        if self._exchange is not None and event_type != INTERACTION_CREATE:
            await self._exchange.bind(queue.channel, event_type)
        else:
            await queue.bind(self._names.event(event_type), "#", timeout=METHOD_TIMEOUT_S)

    async def _unbind(self, event_type: str) -> None:
        queue = self._queue_of(event_type)
        if self._exchange is not None and event_type != INTERACTION_CREATE:
            await self._exchange.unbind(queue.channel, event_type)
        else:
            await queue.unbind(self._names.event(event_type), "#", timeout=METHOD_TIMEOUT_S)

    async def _clear_shared(self, wanted: frozenset[str]) -> None:
        """What the group bound before it was partitioned goes, but only now: rather some dispatches twice than none."""
        if self._exchange is None:
            return
        for event_type in sorted(wanted - self._cleared - {INTERACTION_CREATE}):
            await self._queue_of(event_type).unbind(self._names.event(event_type), "#", timeout=METHOD_TIMEOUT_S)
        self._cleared |= wanted

    def _queue_of(self, event_type: str) -> AbstractQueue:
        lane = INTERACTION_LANE if event_type == INTERACTION_CREATE else None
        if lane not in self._queues:
            raise BrokerLostError("the group's queues are not declared yet")
        return self._queues[lane]

    async def _consume(
        self, connection: AbstractConnection, lane: str | None, name: str | None = None
    ) -> tuple[AbstractQueue, str]:
        """Consume a lane's queue; with `name`, a former partition as if it were that queue."""
        channel = await connection.channel(publisher_confirms=False)
        self._watch(connection, channel)
        await channel.set_qos(prefetch_count=slot_count(lane, self._prefetch_count), timeout=METHOD_TIMEOUT_S)
        queue = await (self._declare(channel, lane) if name is None else channel.get_queue(name, ensure=False))

        async def take(message: AbstractIncomingMessage) -> None:
            self._take(lane, Delivery(queue.name, message))

        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: self._renew(connection, "the queue was deleted"))
        return queue, await queue.consume(take, timeout=METHOD_TIMEOUT_S)

    def _watch(self, connection: AbstractConnection, channel: AbstractChannel) -> None:
        def on_close(_: Any, reason: BaseException | None) -> None:  # noqa: ANN401 - aio-pika's sender
            if reason is not None and not isinstance(reason, aiormq.exceptions.AMQPConnectionError | OSError):
                self._renew(connection, repr(reason))

        channel.close_callbacks.add(on_close, weak=False)

    def _renew(self, connection: AbstractConnection, reason: str) -> None:
        """A channel was lost alone: start from a new connection, which sets everything up again."""
        if connection.is_closed or self._is_stopped:
            return
        self._link.abandon(connection)
        _log.warning("channel lost, reconnecting", extra={"action": "channel_lost", "reason": reason})
        task = asyncio.create_task(close_quietly(connection), name="close after a lost channel")
        self._closers.add(task)
        task.add_done_callback(self._closers.discard)


class CommandExchange:
    """Declares `ns.shard`, because a publish to a missing exchange would close the channel."""

    def __init__(self, link: Link, names: Names) -> None:
        self._name = names.shard
        link.on_connect(self._set_up)

    async def _set_up(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=False)
        await channel.declare_exchange(self._name, ExchangeType.DIRECT, durable=True, timeout=METHOD_TIMEOUT_S)
        await channel.close()
