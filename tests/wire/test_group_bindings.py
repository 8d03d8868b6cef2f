"""What a group is bound to: what somebody wants, and what somebody may want who is only away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aio_pika
import pytest
from aio_pika.exceptions import PublishError

from eventbus.amqp.broker import Broker
from eventbus.amqp.group_queues import ALONE_S, GroupQueues
from eventbus.amqp.link import DeliveryLink
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel

    from eventbus.names import Names

GROUP = "g"
OWN, FOREIGN = "MESSAGE_CREATE", "TYPING_START"


class Member:
    """One process's queues; what it gets stays with it."""

    def __init__(self, broker_url: str, names: Names, *wanted: str) -> None:
        self.wanted = frozenset(wanted)
        self.link = DeliveryLink(Broker(broker_url), name="deliveries")
        self.queues = GroupQueues(
            self.link, names, GROUP, prefetch_count=10, wanted=lambda: self.wanted, take=lambda *_: None
        )

    async def open(self) -> Member:
        await self.link.open(timeout_s=60)
        return self

    def pass_ten_minutes(self) -> None:
        """As if they had passed since it was found to be alone, if it was, and since it wanted something."""
        known = vars(self.queues)  # nobody waits ten minutes
        if known["_alone_since"] is not None:
            known["_alone_since"] -= ALONE_S
        for event_type in known["_unwanted"]:
            known["_unwanted"][event_type] -= ALONE_S


class World:
    """A group, and what it is bound to."""

    def __init__(self, broker_url: str, names: Names, channel: AbstractChannel) -> None:
        self._broker_url = broker_url
        self._names = names
        self._channel = channel
        self.members: list[Member] = []

    async def member(self, *wanted: str) -> Member:
        made = Member(self._broker_url, self._names, *wanted)
        self.members.append(made)
        return await made.open()

    async def until_alone(self) -> None:
        """Until the broker has forgotten all but one of them."""

        async def is_so() -> bool:
            queue = await self._channel.declare_queue(self._names.layout(GROUP), passive=True)
            return queue.declaration_result.consumer_count == 1

        await eventually(is_so)

    async def is_bound(self, event_type: str) -> bool:
        exchange = await self._channel.get_exchange(self._names.event(event_type))
        try:
            await exchange.publish(aio_pika.Message(b"{}", type=event_type), "0", mandatory=True)
        except PublishError:
            return False
        return True


@pytest.fixture
async def world(broker_url: str, names: Names, observer: AbstractChannel) -> AsyncIterator[World]:
    made = World(broker_url, names, observer)
    yield made
    for member in made.members:
        await member.link.close()
    for queue in (None, "interactions", "quarantine"):
        await observer.queue_delete(names.group(GROUP, queue))
    await observer.queue_delete(names.dead(GROUP))


async def test_what_was_wanted_stays_until_the_process_was_long_alone(world: World) -> None:
    member = await world.member(OWN, FOREIGN)
    other = await world.member(OWN)
    await member.queues.sync()
    member.wanted = frozenset({OWN})
    member.pass_ten_minutes()
    await member.queues.sync()
    assert await world.is_bound(FOREIGN)  # the other one may want it
    await other.link.close()
    await world.until_alone()
    await member.queues.sync()
    assert await world.is_bound(FOREIGN)  # whoever wants it may be starting again
    member.pass_ten_minutes()
    await member.queues.sync()
    assert not await world.is_bound(FOREIGN)
    assert await world.is_bound(OWN)


async def test_what_an_earlier_release_listened_to_goes_the_same_way(world: World) -> None:
    former = await world.member(OWN, FOREIGN)
    await former.link.close()
    member = await world.member(OWN)
    member.queues.note_unwanted(FOREIGN)
    await member.queues.sync()
    assert await world.is_bound(FOREIGN)
    member.pass_ten_minutes()
    await member.queues.sync()
    assert not await world.is_bound(FOREIGN)


async def test_one_that_came_and_went_between_two_looks_may_be_starting_again(world: World) -> None:
    alone = await world.member(OWN)
    await alone.queues.sync()
    alone.pass_ten_minutes()
    newcomer = await world.member(OWN, FOREIGN)
    alone.queues.note_unwanted(FOREIGN)  # some of it was dealt to the other
    await newcomer.link.close()
    await world.until_alone()
    await alone.queues.sync()
    assert await world.is_bound(FOREIGN)


async def test_a_process_that_is_the_first_after_an_outage_unbinds_nothing(world: World) -> None:
    """The others may only be slower: what they want would be dropped until they are back."""
    first = await world.member(OWN)
    first.queues.note_unwanted(FOREIGN)
    await first.queues.sync()  # alone from here on
    second = await world.member(OWN, FOREIGN)
    await second.link.close()
    await first.link.close()
    first.pass_ten_minutes()
    await first.link.open(timeout_s=60)
    assert await world.is_bound(FOREIGN)
    await first.queues.sync()
    assert await world.is_bound(FOREIGN)
