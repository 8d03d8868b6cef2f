"""Partitions move between the processes of a group: in order, evenly, to one at a time, and nothing is lost.

Each member is a whole `Group` on connections of its own, in this process: so many can come and go within a test.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import TYPE_CHECKING

import aio_pika
import pytest

from consumers import partitions
from consumers.group import Group
from consumers.limits import TypeLimits
from eventbus.amqp.broker import Broker
from eventbus.amqp.link import DeliveryLink, Link
from eventbus.errors import ConfigurationError
from eventbus.group_layout import GroupLayout, Ordering
from eventbus.messages import decode, encode
from eventbus.pool_messages import PoolLeft, PoolMember, pool_notice
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel

    from eventbus.amqp.deliveries import Delivery
    from eventbus.names import Names


GROUP = "g"
SHARDS = 16
TYPE = "MESSAGE_DELETE"
GUILD_OF_4 = GroupLayout(Ordering.GUILD, 4)
PREFETCH = 20


class World:
    """What all members started, in order, and what was published."""

    def __init__(self, broker: Broker, names: Names, channel: AbstractChannel) -> None:
        self.broker = broker
        self.names = names
        self.channel = channel
        self.members: list[Member] = []
        self.starts: list[tuple[int, int]] = []
        self.published: list[tuple[int, int]] = []

    async def join(self, layout: GroupLayout = GUILD_OF_4, *, handler_s: float = 0.01) -> Member:
        member = Member(self, layout, handler_s)
        self.members.append(member)
        await member.open()
        return member

    async def publish(self, count: int) -> None:
        exchange = await self.channel.declare_exchange(self.names.event(TYPE), "topic", durable=True)
        for _ in range(count):
            seq = len(self.published) + 1
            shard = seq // 3 % SHARDS
            message = aio_pika.Message(
                b"{}",
                type=TYPE,
                message_id=f"s:{seq}",
                headers={"shard": shard, "shard_count": SHARDS},
                delivery_mode=2,
            )
            await exchange.publish(message, str(shard))
            self.published.append((shard, seq))

    async def until_all_started(self) -> None:
        await eventually(lambda: set(self.starts) == set(self.published))

    async def until_shared(self, *members: Member) -> None:
        """Each partition has one of these, and each of these has as many as the others, or one more."""

        def is_even() -> bool:
            counts = [len(member.held) for member in members]
            all_held = sorted(number for member in members for number in member.held)
            return all_held == list(range(4)) and max(counts) - min(counts) <= 1

        await eventually(is_even)

    @property
    def inversions(self) -> int:
        highest: dict[int, int] = defaultdict(int)
        found = 0
        for shard, seq in dict.fromkeys(self.starts):  # the first starts, in their order
            found += seq < highest[shard]
            highest[shard] = max(seq, highest[shard])
        return found


class Member:
    """One process's part in the group."""

    def __init__(self, world: World, layout: GroupLayout, handler_s: float) -> None:
        self._world = world
        self._handler_s = handler_s
        deliveries, control = DeliveryLink(world.broker, name="deliveries"), Link(world.broker, name="control")
        self._links = (deliveries, control)
        self.group = Group(
            deliveries,
            control,
            world.names,
            GROUP,
            layout=layout,
            prefetch_count=PREFETCH,
            limits=TypeLimits({}),
            wanted=lambda: frozenset({TYPE}),
            handle=self._handle,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def held(self) -> list[int]:
        return sorted(self.group.held_partitions)

    async def open(self) -> None:
        await self._links[1].open(timeout_s=60)
        self.group.grow(SHARDS)  # as a consumer does: else most shards have no partition at first
        await self.group.open(timeout_s=60)
        services = [service for _, service in self.group.services()]
        self._tasks = [asyncio.create_task(service()) for service in (self._links[1].keep, *services)]

    async def _handle(self, delivery: Delivery) -> None:
        if not delivery.begin():
            return
        shard, seq = int(str(delivery.headers["shard"])), int(str(delivery.message_id).split(":")[1])
        self._world.starts.append((shard, seq))
        await asyncio.sleep(random.uniform(0, self._handler_s))
        delivery.ack()

    async def leave(self) -> None:
        """As on SIGTERM."""
        await self.group.drain()
        await self.die()

    async def die(self) -> None:
        """Both connections end, with all that is unsettled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, self.group.cancel(), return_exceptions=True)
        self._tasks.clear()
        for link in self._links:
            await link.close()


@pytest.fixture
async def world(broker_url: str, names: Names, observer: AbstractChannel) -> AsyncIterator[World]:
    made = World(Broker(broker_url), names, observer)
    yield made
    for member in made.members:
        await member.die()
    for queue in (None, "interactions", "quarantine", *(f"partition-{number}" for number in range(4))):
        await observer.queue_delete(names.group(GROUP, queue))
    await observer.queue_delete(names.dead(GROUP))


async def test_the_order_is_kept_when_members_come_leave_and_die_under_load(world: World) -> None:
    first = await world.join()
    load = asyncio.create_task(world.publish(800))
    second = await world.join()
    await world.until_shared(first, second)
    third = await world.join()
    await first.die()
    await world.until_shared(second, third)
    await second.leave()
    await world.until_shared(third)
    await load
    await world.until_all_started()
    assert world.inversions == 0


async def test_a_dead_process_is_noticed_if_whoever_should_look_after_it_never_heard_of_it(world: World) -> None:
    """As when it dies while another joins: that one is its neighbour in the ring, and was told nothing of it."""
    ring = await world.channel.declare_queue(exclusive=True)
    await world.channel.declare_exchange(world.names.pool(GROUP), "fanout", durable=True)
    await ring.bind(world.names.pool(GROUP))
    members = [await world.join() for _ in range(3)]
    await world.until_shared(*members)
    names: list[str] = []
    while message := await ring.get(no_ack=True, fail=False):
        notice = decode(pool_notice, message.body)
        if isinstance(notice, PoolMember) and notice.member not in names:
            names.append(notice.member)
    assert len(names) == len(members)
    dead = names[0]
    neighbour = max((name for name in names if name < dead), default=max(names))
    await world.channel.default_exchange.publish(aio_pika.Message(encode(PoolLeft(member=dead))), neighbour)
    await members[0].die()
    await world.until_shared(*members[1:])


async def test_an_exchange_of_notices_that_was_deleted_is_bound_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "TELL_AGAIN_S", 1.0)
    first, second = await world.join(), await world.join()
    await world.until_shared(first, second)
    await world.channel.exchange_delete(world.names.pool(GROUP))
    third = await world.join()  # declares it anew, and is heard by nobody yet
    await world.until_shared(first, second, third)


async def test_handlers_that_cannot_start_in_time_start_elsewhere_in_order(world: World) -> None:
    """All slots are taken for longer than a move waits: what has not started is given back, in front of the rest."""
    first = await world.join(handler_s=60)
    await world.publish(300)
    await eventually(lambda: len(world.starts) >= PREFETCH)
    second = await world.join()
    await world.until_shared(first, second)
    dying = asyncio.create_task(first.die())
    await world.until_all_started()
    await dying
    assert world.inversions == 0


async def test_a_member_with_another_layout_is_refused_with_a_sentence(world: World) -> None:
    await world.join()
    for other in (GroupLayout(), GroupLayout(Ordering.GUILD, 2), GroupLayout(Ordering.SHARD, 4)):
        with pytest.raises(ConfigurationError, match=r"runs with --ordering guild --partitions 4 and this process has"):
            await world.join(other)


async def test_nothing_is_lost_when_the_layout_changes(world: World) -> None:
    """What waits in the queues of the former layout is handled too, and nothing comes both ways."""
    guild_of_2 = GroupLayout(Ordering.GUILD, 2)
    for layout in (GroupLayout(), GUILD_OF_4, guild_of_2, GUILD_OF_4, GroupLayout()):
        member = await world.join(layout)
        await world.publish(50)
        await world.until_all_started()
        await member.leave()
        await world.publish(50)
    await world.join()
    await world.until_all_started()
    assert len(world.starts) == len(world.published)


async def test_a_shard_that_no_partition_knows_is_handled_and_has_one_from_then_on(world: World) -> None:
    member = await world.join()
    exchange = await world.channel.declare_exchange(world.names.event(TYPE), "topic", durable=True)
    headers = {"shard": 101, "shard_count": 102}
    message = aio_pika.Message(b"{}", type=TYPE, message_id="s:1", headers=headers)
    await exchange.publish(message, "101")
    await eventually(lambda: world.starts == [(101, 1)])
    await eventually(lambda: member.group.placed_shard_count == 102)
    await member.leave()
    await exchange.publish(message, "101")
    partition = await world.channel.declare_queue(world.names.partition(GROUP, 101 % 4), passive=True)
    assert partition.declaration_result.message_count == 1
