"""The queue by which processes tell each other what they own, when its exchange is deleted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from eventbus.amqp import owner_queue
from eventbus.amqp.link import Link
from eventbus.amqp.owner_queue import OwnerQueue
from eventbus.owner_messages import Owned
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
        self.queue = OwnerQueue(
            self.link, names, GROUP, hear=self.heard.append, take=lambda _: None, opened=lambda: None
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
