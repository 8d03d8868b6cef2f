"""A process's own queue: bound to what is wanted, through every loss, and without a trace afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aio_pika
import pytest
from pamqp import commands

from eventbus.amqp.link import DeliveryLink
from eventbus.amqp.own_queue import OwnQueue
from eventbus.errors import BrokerLostError
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel

    from eventbus.amqp.broker import Broker
    from eventbus.names import Names
    from tests.tcp_proxy import TcpProxy

NAME = "a-consumer"


class Rig:
    """An own queue, what it wants, and what came."""

    def __init__(self, broker: Broker, names: Names, observer: AbstractChannel) -> None:
        self.link = DeliveryLink(broker, name="the tests'")
        self.names = names
        self.observer = observer
        self.wanted: set[str] = set()
        self.came: list[bytes] = []
        self.lost = asyncio.Event()
        self.queue = OwnQueue(
            self.link,
            names,
            names.consumer(NAME),
            wanted=lambda: frozenset(self.wanted),
            take=lambda copy: self.came.append(copy.body),
            on_loss=self.lost.set,
        )

    async def is_taken(self, event_type: str, body: bytes = b"x") -> bool:
        exchange = await self.observer.declare_exchange(self.names.event(event_type), type="topic", durable=True)
        try:
            await exchange.publish(aio_pika.Message(body), "7", timeout=30)
        except aio_pika.exceptions.DeliveryError:
            return False
        return True


@pytest.fixture
async def rig(broker: Broker, names: Names, observer: AbstractChannel) -> AsyncIterator[Rig]:
    tested = Rig(broker, names, observer)
    await tested.link.open(timeout_s=30)
    keeping = asyncio.create_task(tested.link.keep())
    yield tested
    keeping.cancel()
    await tested.link.close()


async def test_copies_come_as_long_as_they_are_wanted(rig: Rig) -> None:
    assert not await rig.is_taken("TYPING_START")
    rig.wanted = {"TYPING_START", "MESSAGE_CREATE"}
    await rig.queue.sync()
    assert rig.queue.bound == {"TYPING_START", "MESSAGE_CREATE"}
    assert await rig.is_taken("TYPING_START", b"first")
    await eventually(lambda: rig.came == [b"first"])
    rig.wanted = {"MESSAGE_CREATE"}
    await rig.queue.sync()
    assert not await rig.is_taken("TYPING_START")
    assert await rig.is_taken("MESSAGE_CREATE", b"second")
    await eventually(lambda: rig.came == [b"first", b"second"])


async def test_a_lost_connection_brings_the_bindings_back(rig: Rig, proxy: TcpProxy) -> None:
    rig.wanted = {"TYPING_START"}
    await rig.queue.sync()
    proxy.cut()

    async def has_come() -> bool:
        await rig.is_taken("TYPING_START", b"after")  # perhaps by the queue that goes with the old connection
        return bool(rig.came)

    await eventually(has_come)


async def test_a_type_that_is_refused_keeps_back_no_other(rig: Rig, proxy: TcpProxy) -> None:
    await rig.observer.declare_exchange(rig.names.event("CHANNEL_CREATE"), type="fanout", durable=True)  # a foreign one
    rig.wanted = {"CHANNEL_CREATE", "TYPING_START"}
    with pytest.raises(BrokerLostError, match="CHANNEL_CREATE"):
        await rig.queue.sync()
    assert rig.queue.bound == {"TYPING_START"}
    proxy.cut()

    async def has_come() -> bool:
        await rig.is_taken("TYPING_START", b"after")
        return bool(rig.came)

    await eventually(has_come)


async def test_without_a_broker_nothing_is_bound_and_nobody_hangs(rig: Rig) -> None:
    await rig.link.close()
    rig.wanted = {"TYPING_START"}
    with pytest.raises(BrokerLostError):
        await rig.queue.sync()


async def test_a_deleted_exchange_is_bound_again(rig: Rig) -> None:
    rig.wanted = {"TYPING_START"}
    await rig.queue.sync()
    await rig.observer.exchange_delete(rig.names.event("TYPING_START"))
    assert not await rig.is_taken("TYPING_START")
    await rig.queue.sync(again=True)
    assert await rig.is_taken("TYPING_START")


async def test_an_exchange_that_was_deleted_between_two_waits_does_not_end_it(rig: Rig) -> None:
    rig.wanted = {"TYPING_START"}
    await rig.queue.sync()
    rig.wanted = set()
    await rig.queue.sync()
    await rig.observer.exchange_delete(rig.names.event("TYPING_START"))
    rig.wanted = {"TYPING_START"}

    async def is_bound() -> bool:
        try:
            await rig.queue.sync()
        except BrokerLostError:  # it thought that the exchange was there
            return False
        return await rig.is_taken("TYPING_START")

    await eventually(is_bound)


async def test_a_deleted_queue_is_declared_again(rig: Rig) -> None:
    rig.wanted = {"TYPING_START"}
    await rig.queue.sync()
    await rig.link.connection.ask(commands.Queue.Delete(queue=rig.names.consumer(NAME)), commands.Queue.DeleteOk)
    async with asyncio.timeout(30):
        await rig.lost.wait()

    async def is_bound() -> bool:
        await rig.queue.sync()
        return await rig.is_taken("TYPING_START", b"again")

    await eventually(is_bound)
    await eventually(lambda: b"again" in rig.came)


async def test_it_goes_with_its_connection(rig: Rig) -> None:
    rig.wanted = {"TYPING_START"}
    await rig.queue.sync()
    assert await rig.is_taken("TYPING_START")
    await rig.link.close()

    async def is_gone() -> bool:
        return not await rig.is_taken("TYPING_START")

    await eventually(is_gone)
