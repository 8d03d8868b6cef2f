"""The exchange of a partitioned group: all its event types come in, and go on to partitions by shard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aio_pika import ExchangeType
from aio_pika.exceptions import ChannelNotFoundEntity

from eventbus.group_layout import MAX_PARTITIONS

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection
    from pamqp.common import FieldTable

    from eventbus.names import Names

METHOD_TIMEOUT_S = 10.0
PLACE_TIMEOUT_S = 600.0
"""For the bindings of all shards: given up, they would close their channel, and begin again."""


class PartitionExchange:
    """Shard ids are bound once, to partition `id % count`, and event types once: types plus shards, not times.

    What no binding knows goes to the group's shared queue, so that it is late and out of order rather than lost.
    """

    def __init__(self, names: Names, group: str, partition_count: int) -> None:
        self._names = names
        self._group = group
        self._count = partition_count
        self._name = names.partitions(group, partition_count)

    async def declare(self, channel: AbstractChannel, arguments: FieldTable) -> None:
        """Declare exchanges and partitions, which get `arguments`; the shared queue must be there."""
        unplaced = self._names.unplaced(self._group)
        await channel.declare_exchange(unplaced, ExchangeType.FANOUT, durable=True, timeout=METHOD_TIMEOUT_S)
        shared = await channel.get_queue(self._names.group(self._group), ensure=False)
        await shared.bind(unplaced, timeout=METHOD_TIMEOUT_S)
        await channel.declare_exchange(
            self._name,
            ExchangeType.DIRECT,
            durable=True,
            arguments={"alternate-exchange": unplaced},
            timeout=METHOD_TIMEOUT_S,
        )
        for number in range(self._count):
            name = self._names.partition(self._group, number)
            await channel.declare_queue(
                name, durable=True, arguments=partition_arguments(arguments), timeout=METHOD_TIMEOUT_S
            )

    async def place(self, channel: AbstractChannel, shard_count: int) -> None:
        """Bind the partitions to their shards."""
        underlay = await channel.get_underlay_channel()
        *others, last = range(shard_count)
        for shard in others:
            await underlay.queue_bind(self._partition_of(shard), self._name, str(shard), nowait=True)
        await underlay.queue_bind(self._partition_of(last), self._name, str(last), timeout=PLACE_TIMEOUT_S)

    def _partition_of(self, shard: int) -> str:
        return self._names.partition(self._group, shard % self._count)

    async def bind_unanswered(self, channel: AbstractChannel, event_type: str) -> None:
        """Have an event type, whose exchange must be there, come in."""
        underlay = await channel.get_underlay_channel()
        await underlay.exchange_bind(self._name, self._names.event(event_type), routing_key="#", nowait=True)

    async def bind(self, channel: AbstractChannel, event_type: str) -> None:
        """The same, and wait for the answer."""
        underlay = await channel.get_underlay_channel()
        source = self._names.event(event_type)
        await underlay.exchange_bind(self._name, source, routing_key="#", timeout=METHOD_TIMEOUT_S)

    async def unbind(self, channel: AbstractChannel, event_type: str) -> None:
        """Have an event type come in no more."""
        underlay = await channel.get_underlay_channel()
        await underlay.exchange_unbind(
            self._name, self._names.event(event_type), routing_key="#", timeout=METHOD_TIMEOUT_S
        )


def partition_arguments(arguments: FieldTable) -> FieldTable:
    """What a partition is declared with: the group's arguments, and that one connection at a time gets deliveries.

    RabbitMQ makes the next consumer active in the step in which it takes back what a dead one had: so nothing can
    overtake that. A planned move is guarded by the lock of the partition's owner.
    """
    return {**arguments, "x-single-active-consumer": True}


async def remove_other_exchanges(channel: AbstractChannel, names: Names, group: str, keep: int | None) -> None:
    """Let nothing more come in by a former layout's exchange; its partitions stay. `keep`: how many there are now."""
    underlay = await channel.get_underlay_channel()
    for count in range(1, MAX_PARTITIONS + 1):
        if count != keep:
            await underlay.exchange_delete(names.partitions(group, count), nowait=True)
    if keep is None:
        await channel.exchange_delete(names.unplaced(group), timeout=METHOD_TIMEOUT_S)


async def find_former_partitions(connection: AbstractConnection, names: Names, group: str, first: int) -> list[str]:
    """The partitions from `first` on: there are some if the group had more of them, or has none any more."""
    found: list[str] = []
    for number in range(first, MAX_PARTITIONS):
        name = names.partition(group, number)
        channel = await connection.channel(publisher_confirms=False)
        try:
            await channel.declare_queue(name, passive=True, timeout=METHOD_TIMEOUT_S)
        except ChannelNotFoundEntity:
            break
        await channel.close()
        found.append(name)
    return found
