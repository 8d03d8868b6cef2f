"""A queue whose bindings come and go, over every loss of the broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from eventbus.amqp.bound_queue import BoundQueue
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import is_bound
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

    from eventbus.amqp.broker import Broker
    from eventbus.names import Names
    from tests.tcp_proxy import TcpProxy

TIMEOUT_S = 15


class Rig:
    def __init__(self, broker: Broker, names: Names, observer: AbstractChannel) -> None:
        self.names = names
        self.observer = observer
        self.queue = BoundQueue(names.inbox("w"), {names.control: "topic", names.shard: "direct"})
        self.link = Link(broker, name="test")
        self.link.on_connect(self.set_up)
        self.set_ups = 0
        self.keeping: asyncio.Task[None] | None = None

    async def set_up(self, connection: AbstractConnection) -> None:
        await self.queue.declare(await connection.channel())
        self.set_ups += 1

    async def is_bound(self, shard: int) -> bool:
        return await is_bound(self.observer, self.names.shard, str(shard))


@pytest.fixture
async def rig(broker: Broker, names: Names, observer: AbstractChannel) -> AsyncIterator[Rig]:
    made = Rig(broker, names, observer)
    await made.link.open(timeout_s=TIMEOUT_S)
    made.keeping = asyncio.create_task(made.link.keep())
    yield made
    made.keeping.cancel()
    await asyncio.wait([made.keeping])
    await made.link.close()


async def test_a_binding_made_before_the_first_connect_is_there_after_it(
    broker: Broker, names: Names, observer: AbstractChannel
) -> None:
    rig = Rig(broker, names, observer)
    await rig.queue.bind(names.shard, "1")
    await rig.link.open(timeout_s=TIMEOUT_S)
    assert await rig.is_bound(1)
    await rig.link.close()


async def test_bindings_come_and_go(rig: Rig) -> None:
    await rig.queue.bind(rig.names.shard, "1")
    await rig.queue.bind(rig.names.control, "coordinator.#")
    assert await rig.is_bound(1)
    assert await is_bound(rig.observer, rig.names.control, "coordinator.roll_call")
    await rig.queue.unbind(rig.names.shard, "1")
    await rig.queue.unbind(rig.names.shard, "1")
    assert not await rig.is_bound(1)


async def test_bindings_survive_a_cut_and_what_was_unbound_stays_away(rig: Rig, proxy: TcpProxy) -> None:
    await rig.queue.bind(rig.names.shard, "1")
    await rig.queue.bind(rig.names.shard, "2")
    await rig.queue.unbind(rig.names.shard, "1")
    proxy.cut()
    await eventually(lambda: rig.set_ups == 2)
    assert await rig.is_bound(2)
    assert not await rig.is_bound(1)


async def test_what_changes_while_the_broker_is_away_holds_when_it_is_back(rig: Rig, proxy: TcpProxy) -> None:
    await rig.queue.bind(rig.names.shard, "1")
    proxy.refuse()
    async with asyncio.timeout(TIMEOUT_S):
        await rig.queue.bind(rig.names.shard, "2")
        await rig.queue.unbind(rig.names.shard, "1")
    proxy.accept()
    await eventually(lambda: rig.set_ups == 2)
    assert await rig.is_bound(2)
    assert not await rig.is_bound(1)


async def test_what_changes_during_a_reconnect_holds_after_it(rig: Rig, proxy: TcpProxy) -> None:
    for shard in range(100, 150):
        await rig.queue.bind(rig.names.shard, str(shard))
    proxy.cut()
    changes = 0
    while rig.set_ups < 2 and changes < 2000:
        await rig.queue.bind(rig.names.shard, str(200 + changes))
        await rig.queue.unbind(rig.names.shard, str(100 + changes % 50))
        changes += 1
        await asyncio.sleep(0.001)
    await eventually(lambda: rig.set_ups == 2 and rig.link.is_up.is_set())
    assert rig.keeping is not None
    assert not rig.keeping.done()
    assert [shard for shard in range(200, 200 + changes) if not await rig.is_bound(shard)] == []
    assert [shard for shard in range(100, 100 + min(changes, 50)) if await rig.is_bound(shard)] == []


async def test_a_bind_cut_in_the_middle_is_no_error_and_holds_later(rig: Rig, proxy: TcpProxy) -> None:
    proxy.stall()
    binding = asyncio.create_task(rig.queue.bind(rig.names.shard, "5"))
    await asyncio.sleep(0.05)
    proxy.cut()
    proxy.resume()
    async with asyncio.timeout(TIMEOUT_S):
        await binding
    await eventually(lambda: rig.set_ups == 2)
    assert await rig.is_bound(5)


async def test_a_deleted_exchange_comes_back_with_its_bindings(rig: Rig) -> None:
    await rig.queue.bind(rig.names.shard, "1")
    await rig.observer.exchange_delete(rig.names.shard)
    assert await rig.queue.mend(rig.link.connection) is False  # nobody consumes it here
    assert await rig.is_bound(1)


async def test_a_queue_with_its_consumer_is_whole_and_one_that_is_gone_is_not(rig: Rig) -> None:
    channel = await rig.link.connection.channel()
    queue = await channel.get_queue(rig.names.inbox("w"))
    await queue.consume(_ignore, no_ack=True)
    assert await rig.queue.mend(rig.link.connection)
    await channel.queue_delete(rig.names.inbox("w"))
    assert not await rig.queue.mend(rig.link.connection)
    await rig.link.restart("test")
    await eventually(lambda: rig.set_ups == 2)
    assert await is_bound(rig.observer, "", rig.names.inbox("w"))


async def _ignore(_: AbstractIncomingMessage) -> None:
    """Only that there is a consumer counts."""
