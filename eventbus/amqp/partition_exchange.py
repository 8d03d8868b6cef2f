"""The exchange of a partitioned group: all its event types come in, and go on to partitions by shard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pamqp import commands

from eventbus.group_layout import MAX_PARTITIONS

if TYPE_CHECKING:
    from pamqp.common import FieldTable

    from eventbus.amqp.consume_connection import ConsumeConnection
    from eventbus.names import Names


class PartitionExchange:
    """Shard ids are bound once, to partition `id % count`, and event types once: types plus shards, not times.

    What no binding knows goes to the group's shared queue, so that it is late and out of order rather than lost.
    """

    def __init__(self, names: Names, group: str, partition_count: int) -> None:
        self._names = names
        self._group = group
        self._count = partition_count
        self._name = names.partitions(group, partition_count)

    async def declare(self, connection: ConsumeConnection, arguments: FieldTable) -> None:
        """Declare exchanges and partitions, which get `arguments`; the shared queue must be there."""
        unplaced = self._names.unplaced(self._group)
        await connection.declare_exchange(unplaced, "fanout")
        await connection.bind(self._names.group(self._group), unplaced, "")
        await connection.declare_exchange(self._name, "direct", {"alternate-exchange": unplaced})
        for number in range(self._count):
            await connection.declare_queue(self._names.partition(self._group, number), partition_arguments(arguments))

    async def place(self, connection: ConsumeConnection, shard_count: int) -> None:
        """Bind the partitions to their shards."""
        *others, last = range(shard_count)
        for shard in others:
            connection.bind_unanswered(self._partition_of(shard), self._name, str(shard))
        await connection.bind(self._partition_of(last), self._name, str(last))

    def _partition_of(self, shard: int) -> str:
        return self._names.partition(self._group, shard % self._count)

    def bind_unanswered(self, connection: ConsumeConnection, source: str) -> None:
        """Have an event type, whose exchange `source` must be there, come in."""
        connection.post(self._binding(source, nowait=True))

    async def bind(self, connection: ConsumeConnection, source: str) -> None:
        """The same, and wait for the answer."""
        await connection.ask(self._binding(source), commands.Exchange.BindOk)

    async def unbind(self, connection: ConsumeConnection, source: str) -> None:
        """Have an event type come in no more."""
        unbind = commands.Exchange.Unbind(destination=self._name, source=source, routing_key="#")
        await connection.ask(unbind, commands.Exchange.UnbindOk)

    def _binding(self, source: str, *, nowait: bool = False) -> commands.Exchange.Bind:
        return commands.Exchange.Bind(destination=self._name, source=source, routing_key="#", nowait=nowait)


def partition_arguments(arguments: FieldTable) -> FieldTable:
    """What a partition is declared with: the group's arguments, and that one connection at a time gets deliveries.

    RabbitMQ makes the next consumer active in the step in which it takes back what a dead one had: so nothing can
    overtake that. A planned move is guarded by the lock of the partition's owner.
    """
    return {**arguments, "x-single-active-consumer": True}


async def remove_other_exchanges(connection: ConsumeConnection, names: Names, group: str, keep: int | None) -> None:
    """Let nothing more come in by a former layout's exchange; its partitions stay. `keep`: how many there are now."""
    for count in range(1, MAX_PARTITIONS + 1):
        if count != keep:
            connection.post(commands.Exchange.Delete(exchange=names.partitions(group, count), nowait=True))
    if keep is None:
        await connection.ask(commands.Exchange.Delete(exchange=names.unplaced(group)), commands.Exchange.DeleteOk)


async def find_former_partitions(connection: ConsumeConnection, names: Names, group: str, first: int) -> list[str]:
    """The partitions from `first` on: there are some if the group had more of them, or has none any more."""
    found: list[str] = []
    for number in range(first, MAX_PARTITIONS):
        name = names.partition(group, number)
        look = commands.Queue.Declare(queue=name, passive=True)
        if await connection.attempt(look, commands.Queue.DeclareOk) is not None:
            break
        found.append(name)
    return found
