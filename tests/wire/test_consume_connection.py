"""The connection for deliveries against a real broker: what comes is whole, what is settled is settled once."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest

from eventbus.amqp.consume_connection import ConsumeConnection
from eventbus.amqp.link import DeliveryLink
from eventbus.errors import BrokerLostError
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel

    from eventbus.amqp.broker import Broker
    from eventbus.amqp.consume_connection import Tagged
    from eventbus.names import Names
    from tests.tcp_proxy import TcpProxy

ARGUMENTS = {"x-queue-type": "quorum", "x-delivery-limit": 20}


@contextlib.asynccontextmanager
async def opened(broker: Broker) -> AsyncIterator[ConsumeConnection]:
    connection = await ConsumeConnection.open(broker, name="test")
    try:
        yield connection
    finally:
        await connection.close()


async def put(observer: AbstractChannel, queue: str, *messages: aio_pika.Message) -> None:
    for message in messages:
        await observer.default_exchange.publish(message, queue)


async def ready_count(observer: AbstractChannel, queue: str) -> int:
    return (await observer.declare_queue(queue, passive=True)).declaration_result.message_count or 0


async def left_count(observer: AbstractChannel, queue: str) -> int:
    """What the queue holds when RabbitMQ has taken back what a closed connection had: it does so a moment later."""

    async def counts() -> tuple[int, int]:
        found = (await observer.declare_queue(queue, passive=True)).declaration_result
        return found.consumer_count or 0, found.message_count or 0

    async def has_no_consumer() -> bool:
        return (await counts())[0] == 0

    await eventually(has_no_consumer)
    return (await counts())[1]


@pytest.fixture
async def queue(broker: Broker, names: Names) -> str:
    name = names.group("g")
    async with opened(broker) as connection:
        await connection.declare_queue(name, dict(ARGUMENTS))
    return name


async def test_a_message_comes_whole_with_its_properties(broker: Broker, queue: str, observer: AbstractChannel) -> None:
    big = bytes(range(256)) * 2000  # four frames
    headers: dict[str, Any] = {
        "shard": 3,
        "received_at": 1.5,
        "replayed": True,
        "note": "ü",
        "nested": {"a": [1, None]},
    }
    sent = aio_pika.Message(
        big, headers=headers, type="A", message_id="s:1", content_type="application/json", correlation_id="c",
        reply_to="r", priority=1, expiration=60, timestamp=1_700_000_000, app_id="app", content_encoding="none",
    )  # fmt: skip
    await put(observer, queue, sent, aio_pika.Message(b""), aio_pika.Message(b"small", type="B"))
    came: list[Tagged] = []
    async with opened(broker) as connection:
        await connection.consume(queue, came.append, prefetch_count=10)
        await eventually(lambda: len(came) == 3)
        first, empty, small = (one.message for one in came)
        assert (first.body, first.type, first.message_id) == (big, "A", "s:1")
        assert (first.content_type, first.correlation_id, first.reply_to) == ("application/json", "c", "r")
        assert {name: first.headers[name] for name in headers} == headers
        assert (empty.body, empty.type, dict(empty.headers)) == (b"", None, {})
        assert (small.body, small.type, small.redelivered) == (b"small", "B", False)


async def test_what_is_acknowledged_is_gone_and_what_is_given_back_comes_again(
    broker: Broker, queue: str, observer: AbstractChannel
) -> None:
    await put(observer, queue, *(aio_pika.Message(b"%d" % number) for number in range(1000)))
    came: list[bytes] = []

    def take(tagged: Tagged) -> None:
        came.append(tagged.message.body)
        is_new = not tagged.message.redelivered
        assert tagged.settle(requeue=is_new and tagged.message.body.endswith(b"7"))

    async with opened(broker) as connection:
        await connection.consume(queue, take, prefetch_count=100)
        await eventually(lambda: len(came) == 1100)
    assert sorted(came) == sorted([b"%d" % n for n in range(1000)] + [b"%d" % n for n in range(1000) if n % 10 == 7])
    assert await left_count(observer, queue) == 0


@pytest.mark.parametrize("seed", range(4))
async def test_deliveries_are_settled_in_any_order_and_what_is_not_stays(
    broker: Broker, queue: str, observer: AbstractChannel, seed: int
) -> None:
    chance = random.Random(seed)
    await put(observer, queue, *(aio_pika.Message(b"%d" % number) for number in range(400)))
    came: list[Tagged] = []
    given_back: set[bytes] = set()
    acknowledged: list[bytes] = []
    async with opened(broker) as connection:
        await connection.consume(queue, came.append, prefetch_count=60)
        while len(acknowledged) < 350:
            await eventually(lambda: came)
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.02)))  # some are written together, others alone
            for tagged in chance.sample(came, chance.randint(1, len(came))):
                came.remove(tagged)
                body = tagged.message.body
                is_given_back = chance.random() < 0.2 and body not in given_back
                assert tagged.settle(requeue=is_given_back)
                assert not tagged.settle(requeue=False)
                if is_given_back:
                    given_back.add(body)
                else:
                    acknowledged.append(body)
    assert len(set(acknowledged)) == len(acknowledged)
    assert await left_count(observer, queue) == 400 - len(acknowledged)


async def test_what_nobody_can_take_is_given_back_alone(broker: Broker, queue: str, observer: AbstractChannel) -> None:
    await put(observer, queue, aio_pika.Message(b"bad"), aio_pika.Message(b"good"))
    came: list[tuple[bytes, bool]] = []

    def take(tagged: Tagged) -> None:
        came.append((tagged.message.body, tagged.message.redelivered))
        if came[-1] == (b"bad", False):
            raise ValueError("no AMQP")
        tagged.settle(requeue=False)

    async with opened(broker) as connection:
        await connection.consume(queue, take, prefetch_count=10)
        await eventually(lambda: sorted(came) == [(b"bad", False), (b"bad", True), (b"good", False)])
        assert not connection.is_closed
    assert await left_count(observer, queue) == 0


@pytest.mark.parametrize("prefetch_count", [1, 3, 100])
async def test_the_prefetch_bounds_what_is_unsettled(
    broker: Broker, queue: str, observer: AbstractChannel, prefetch_count: int
) -> None:
    await put(observer, queue, *(aio_pika.Message(b"x") for _ in range(prefetch_count + 2)))
    came: list[Tagged] = []
    async with opened(broker) as connection:
        await connection.consume(queue, came.append, prefetch_count=prefetch_count)
        await eventually(lambda: len(came) == prefetch_count)
        assert await ready_count(observer, queue) == 2
        came[0].settle(requeue=False)
        await eventually(lambda: len(came) == prefetch_count + 1)
        came[1 if prefetch_count > 1 else -1].settle(requeue=False)
        await eventually(lambda: len(came) == prefetch_count + 2)


async def test_what_was_settled_just_before_the_close_is_settled(
    broker: Broker, queue: str, observer: AbstractChannel
) -> None:
    await put(observer, queue, *(aio_pika.Message(b"x") for _ in range(7)))
    came: list[Tagged] = []
    async with opened(broker) as connection:
        await connection.consume(queue, came.append, prefetch_count=100)
        await eventually(lambda: len(came) == 7)
        for tagged in came[:5]:
            tagged.settle(requeue=False)
    assert came[0].is_gone
    assert not came[5].settle(requeue=False)
    assert await left_count(observer, queue) == 2


async def test_a_cancelled_consumer_gets_no_more_and_settles_what_it_has(
    broker: Broker, queue: str, observer: AbstractChannel
) -> None:
    await put(observer, queue, aio_pika.Message(b"x"))
    came: list[Tagged] = []
    async with opened(broker) as connection:
        consumption = await connection.consume(queue, came.append, prefetch_count=10)
        await eventually(lambda: len(came) == 1)
        await connection.cancel(consumption)
        await put(observer, queue, aio_pika.Message(b"y"))
        assert came[0].settle(requeue=False)
        await connection.declare_queue(queue, dict(ARGUMENTS))  # a round trip
        assert len(came) == 1
    assert await left_count(observer, queue) == 1


async def test_a_queue_deleted_under_its_consumer_closes_the_connection(
    broker: Broker, queue: str, observer: AbstractChannel
) -> None:
    async with opened(broker) as connection:
        await connection.consume(queue, lambda _: None, prefetch_count=10)
        await observer.queue_delete(queue)
        async with asyncio.timeout(15):
            assert "deleted" in await connection.closed


async def test_a_refusal_names_its_reason(broker: Broker, queue: str) -> None:
    async with opened(broker) as connection:
        with pytest.raises(BrokerLostError, match="PRECONDITION_FAILED"):
            await connection.declare_queue(queue, {"x-queue-type": "classic"})
        assert connection.is_closed


async def test_a_link_consumes_again_after_a_cut_and_nothing_is_lost(
    broker: Broker, proxy: TcpProxy, queue: str, observer: AbstractChannel
) -> None:
    await put(observer, queue, *(aio_pika.Message(b"%d" % number) for number in range(300)))
    handled: set[bytes] = set()
    link = DeliveryLink(broker, name="test")

    def take(tagged: Tagged) -> None:
        if len(handled) == 100:
            proxy.cut()
        handled.add(tagged.message.body)
        tagged.settle(requeue=False)

    async def consume(connection: ConsumeConnection) -> None:
        await connection.consume(queue, take, prefetch_count=40)

    link.on_connect(consume)
    await link.open(timeout_s=15)
    keeping = asyncio.create_task(link.keep())
    await eventually(lambda: len(handled) == 300)
    await put(observer, queue, aio_pika.Message(b"last"))  # behind what comes again since its settling was cut off
    await eventually(lambda: b"last" in handled)
    keeping.cancel()
    await link.close()
    assert await left_count(observer, queue) == 0
