"""The queue by which processes tell each other what they own and forward it: late answers, a deleted exchange."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import aio_pika
import pytest

from eventbus.amqp import owner_queue
from eventbus.amqp.deliveries import Delivery
from eventbus.amqp.link import Link
from eventbus.amqp.owner_queue import OwnerQueue
from eventbus.owner_messages import ForwardBegun, ForwardHandled, Owned
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel

    from eventbus.amqp.broker import Broker
    from eventbus.names import Names
    from eventbus.owner_messages import OwnerNotice

GROUP = "g"


class Process:
    """What one process hears."""

    def __init__(self, broker: Broker, names: Names) -> None:
        self.link = Link(broker, name="the tests'")
        self.heard: list[OwnerNotice] = []
        self.taken: asyncio.Queue[Delivery] = asyncio.Queue()
        self.queue = OwnerQueue(
            self.link, names, GROUP, hear=self.heard.append, take=self.taken.put_nowait, opened=lambda: None
        )

    async def tell(self, key: int) -> bool:
        return await self.queue.tell_all([Owned(owner=self.queue.name, keys=(key,))])


@pytest.fixture
async def processes(broker: Broker, names: Names, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Process]]:
    monkeypatch.setattr(owner_queue, "BIND_EVERY", 2)
    made = [Process(broker, names) for _ in range(2)]
    tasks = []
    for one in made:
        await one.link.open(timeout_s=30)
        tasks += [asyncio.create_task(one.link.keep()), asyncio.create_task(one.queue.watch())]
    yield made
    for task in tasks:
        task.cancel()
    for one in made:
        await one.link.close()


async def test_a_notice_into_a_deleted_exchange_has_all_set_up_anew(
    processes: list[Process], names: Names, observer: AbstractChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_queue, "BIND_EVERY", 10_000)
    teller = processes[0]
    former = teller.queue.name
    await observer.exchange_delete(names.owners(GROUP))
    await teller.tell(1)
    await eventually(lambda: teller.queue.name != former)

    async def hears_itself() -> bool:
        await teller.tell(2)
        return any(isinstance(one, Owned) and one.keys == (2,) for one in teller.heard)

    await eventually(hears_itself)


async def test_who_tells_nothing_hears_again_after_the_exchange_was_deleted(
    processes: list[Process], names: Names, observer: AbstractChannel
) -> None:
    teller, silent = processes
    await observer.exchange_delete(names.owners(GROUP))

    async def hears() -> bool:
        await teller.tell(3)
        return any(isinstance(one, Owned) and one.keys == (3,) for one in silent.heard)

    await eventually(hears)


@pytest.fixture
async def click(observer: AbstractChannel) -> Delivery:
    queue = await observer.declare_queue(exclusive=True)
    await observer.default_exchange.publish(aio_pika.Message(b"{}", type="INTERACTION_CREATE"), queue.name)
    return Delivery(queue.name, await queue.get(timeout=30))


BEGIN_WITHIN_S = 0.3


async def test_an_owner_that_begins_at_the_last_moment_may_say_so_a_little_later(
    processes: list[Process], click: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so when its handler has run for half a second; then the handler has all the time that it needs."""
    monkeypatch.setattr(owner_queue, "GRACE_S", 4.0)
    sender, owner = processes
    forwarding = asyncio.create_task(sender.queue.forward(click, owner.queue.name, begin_within_s=BEGIN_WITHIN_S))
    taken = await owner.taken.get()
    await asyncio.sleep(BEGIN_WITHIN_S + 0.2)
    await owner.queue.reply(taken, ForwardBegun())
    await asyncio.sleep(BEGIN_WITHIN_S + owner_queue.GRACE_S + 0.5)
    await owner.queue.reply(taken, ForwardHandled(listener_failure="as told"))
    assert await forwarding == ForwardHandled(listener_failure="as told")


async def test_an_answer_that_came_while_the_sender_was_blocked_counts(
    processes: list[Process], click: Delivery
) -> None:
    sender, owner = processes
    forwarding = asyncio.create_task(sender.queue.forward(click, owner.queue.name, begin_within_s=BEGIN_WITHIN_S))
    await owner.queue.reply(await owner.taken.get(), ForwardHandled(listener_failure="as told"))
    time.sleep(BEGIN_WITHIN_S + 2 * owner_queue.GRACE_S)  # noqa: ASYNC251 - a handler of the sender's
    assert await forwarding == ForwardHandled(listener_failure="as told")


async def test_an_owner_that_does_not_begin_is_late_unless_it_has_all_the_time(
    processes: list[Process], click: Delivery
) -> None:
    sender, owner = processes
    with pytest.raises(TimeoutError):
        await sender.queue.forward(click, owner.queue.name, begin_within_s=BEGIN_WITHIN_S)
    owner.taken.get_nowait()
    forwarding = asyncio.create_task(sender.queue.forward(click, owner.queue.name, begin_within_s=None))
    taken = await owner.taken.get()
    await asyncio.sleep(BEGIN_WITHIN_S + 2 * owner_queue.GRACE_S)
    await owner.queue.reply(taken, ForwardHandled())
    assert await forwarding == ForwardHandled()
