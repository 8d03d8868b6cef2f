"""What a confirmed publish of 1 KB costs: our prepared frames against aio-pika, in one run, into one quorum queue."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import aio_pika

from eventbus.amqp.broker import Broker
from eventbus.names import Names
from gateway_workers.publisher import DispatchPublisher

EVENT_TYPE = "MESSAGE_CREATE"
BODY = b'{"t":"MESSAGE_CREATE","s":1,"op":0,"d":{"content":"' + b"x" * 970 + b'"}}'
AIO_PIKA_WINDOW = 100


@dataclass(frozen=True, slots=True)
class Cost:
    """Publishes per second, and CPU of the publishing process in microseconds for each."""

    name: str
    rate: float
    cpu_us: float


async def measure(url: str, *, count: int = 30_000) -> list[Cost]:
    """Both publishers, one after the other."""
    names = Names(f"bench-{time.time_ns()}")
    connection = await aio_pika.connect(url)
    try:
        channel = await connection.channel()
        exchange = await channel.declare_exchange(names.event(EVENT_TYPE), "topic", durable=True)
        queue = await channel.declare_queue(
            names.group("bench"), durable=True, arguments={"x-queue-type": "quorum", "x-max-length": 1000}
        )
        await queue.bind(exchange, "#")
        costs = [await _ours(url, names, count), await _aio_pika(exchange, count // 10)]
        await queue.delete(if_unused=False, if_empty=False)
        await exchange.delete()
    finally:
        await connection.close()
    return costs


async def _ours(url: str, names: Names, count: int) -> Cost:
    publisher = DispatchPublisher(Broker(url), names, worker_id="bench", max_count=10_000, max_bytes=64 << 20)
    await publisher.open(timeout_s=10)
    outlet = publisher.outlet(shard=0, shard_count=1, fencing_token=1, seq=0)
    await outlet.prepare(EVENT_TYPE)
    began, cpu = time.perf_counter(), time.process_time()
    for seq in range(1, count + 1):
        if publisher.is_full:
            await publisher.room()
        outlet.publish(EVENT_TYPE, BODY, seq=seq, session_id="bench", replayed=False, received_at=time.time())
        if seq % 50 == 0:
            await asyncio.sleep(0)  # as a socket's reader does
    await publisher.drained(outlet)
    cost = Cost("prepared frames", count / (time.perf_counter() - began), (time.process_time() - cpu) / count * 1e6)
    await publisher.close()
    return cost


async def _aio_pika(exchange: aio_pika.abc.AbstractExchange, count: int) -> Cost:
    window = asyncio.Semaphore(AIO_PIKA_WINDOW)

    async def publish(seq: int) -> None:
        async with window:
            message = aio_pika.Message(
                BODY,
                content_type="application/json",
                delivery_mode=2,
                message_id=f"bench:{seq}",
                type=EVENT_TYPE,
                headers={
                    "shard": 0,
                    "shard_count": 1,
                    "fencing_token": 1,
                    "replayed": False,
                    "received_at": time.time(),
                },
            )
            await exchange.publish(message, "0")

    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for seq in range(count):
            group.create_task(publish(seq))
    return Cost("aio-pika", count / (time.perf_counter() - began), (time.process_time() - cpu) / count * 1e6)
