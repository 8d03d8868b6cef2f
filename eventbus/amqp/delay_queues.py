"""Deliveries that are to come again later wait in the broker, so that they outlive the process that failed on them.

One exchange and one queue for each delay, shared by all groups of a namespace. A copy is published with the name of the
queue to come back to as its routing key; when it expires, RabbitMQ routes it there over the default exchange.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from eventbus.amqp.border import broker_border
from eventbus.amqp.deliveries import copy_of
from eventbus.amqp.store_channel import StoreChannel
from eventbus.errors import UnroutableError

if TYPE_CHECKING:
    from pamqp.common import FieldTable

    from eventbus.amqp.deliveries import Delivery
    from eventbus.amqp.link import Link
    from eventbus.names import Names

METHOD_TIMEOUT_S = 10.0
JITTER = (0.75, 1.25)

# At least once: a copy that expires is kept until its queue has confirmed it; RabbitMQ wants reject-publish for that.
DELAY_ARGUMENTS: FieldTable = {
    "x-queue-type": "quorum",
    "x-dead-letter-exchange": "",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}


class DelayQueues:
    """The delays of a namespace, each declared when it is first used."""

    def __init__(self, link: Link, names: Names) -> None:
        self._names = names
        self._channel = StoreChannel(link)
        self._lock = asyncio.Lock()
        self._declared: set[tuple[int, int]] = set()

    async def put(self, delivery: Delivery, *, delay_s: int, failed_attempts: int) -> None:
        """Store a copy that comes back to the delivery's queue after `delay_s`, jittered.

        Raises UnroutableError or BrokerLostError; then nothing is known to be stored.
        """
        message = copy_of(delivery, {"failed_attempts": failed_attempts})
        message.expiration = delay_s * random.uniform(*JITTER)  # noqa: S311 - jitter
        name = self._names.delay(delay_s)
        await self._declare(delay_s)
        try:
            await self._channel.store(message, exchange=name, routing_key=delivery.queue)
        except UnroutableError:  # the queue was deleted behind our back
            await self._declare(delay_s, again=True)
            await self._channel.store(message, exchange=name, routing_key=delivery.queue)

    async def _declare(self, delay_s: int, *, again: bool = False) -> None:
        channel = await self._channel.open()
        key = (self._channel.generation, delay_s)
        async with self._lock:
            if key in self._declared and not again:
                return
            name = self._names.delay(delay_s)
            async with broker_border(f"{name!r} was not declared", timeout_s=METHOD_TIMEOUT_S):
                await channel.declare_exchange(name, "fanout", durable=True)
                queue = await channel.declare_queue(name, durable=True, arguments=DELAY_ARGUMENTS)
                await queue.bind(name)
            self._declared = {one for one in self._declared if one[0] == key[0]} | {key}
