"""One partition of a group that this connection consumes, alone: taken with a lock, and given up in order."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiormq.exceptions import ChannelLockedResource

from eventbus.amqp.border import broker_border
from eventbus.amqp.deliveries import Delivery
from eventbus.errors import BrokerLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

    from eventbus.amqp.link import Link

_log = logging.getLogger(__name__)

METHOD_TIMEOUT_S = 10.0
START_PATIENCE_S = 5.0
"""What was taken starts, if it can, before a partition moves: what is given back instead counts as a delivery."""


class HeldPartition:
    """Made by `hold`. `release` starts or gives back all that was taken, then lets the next process have it.

    The lock is an exclusive queue of the connection that consumes: both end together. RabbitMQ's single active consumer
    is not enough, since a cancelled consumer may still hold deliveries whose handlers have not started.
    """

    def __init__(
        self, queue: AbstractQueue, channel: AbstractChannel, lock: str, *, is_ours: Callable[[], bool]
    ) -> None:
        self._queue = queue
        self._is_ours = is_ours
        self._channel = channel
        self._lock = lock
        self._tag = ""
        self._unstarted: dict[Delivery, None] = {}  # in the order in which they came
        self._taken: set[Delivery] = set()
        self._given_back: set[Delivery] = set()
        self._changed = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def hold(
        cls,
        link: Link,
        queue_name: str,
        lock: str,
        *,
        prefetch_count: int,
        take: Callable[[Delivery], None],
    ) -> HeldPartition | None:
        """Consume it; None while another connection does. Raises BrokerLostError.

        All processes of a group should have the same `prefetch_count`: what a dead one had comes again in order if the
        next one takes all of it at once.
        """
        connection = link.connection
        async with broker_border(f"{queue_name!r} is not consumed"):
            if not await _gain(connection, lock):
                return None
            channel = await link.open_channel(connection, confirms=False)
            await channel.set_qos(prefetch_count=prefetch_count, timeout=METHOD_TIMEOUT_S)
            queue = await channel.get_queue(queue_name, ensure=False)
            held = cls(queue, channel, lock, is_ours=lambda: link.is_current(connection))
            await held._consume(take)
        return held

    async def _consume(self, take: Callable[[Delivery], None]) -> None:
        async def on_message(message: AbstractIncomingMessage) -> None:
            delivery = Delivery(self._queue.name, message, self)
            self._unstarted[delivery] = None
            self._taken.add(delivery)
            take(delivery)

        self._tag = await self._queue.consume(on_message, timeout=METHOD_TIMEOUT_S)

    @property
    def is_gone(self) -> bool:
        """Whether its channel is closed: another connection may have it."""
        return bool(self._channel.is_closed)

    # Progress of its deliveries

    def begin(self, delivery: Delivery) -> bool:
        """Its handlers are about to start; False if they must not."""
        if delivery.is_gone or not self._is_ours():
            return False
        self._unstarted.pop(delivery, None)
        self._changed.set()
        return True

    def end(self, delivery: Delivery) -> None:
        """Nothing is done with it any more."""
        self._unstarted.pop(delivery, None)
        self._taken.discard(delivery)
        self._given_back.discard(delivery)
        self._changed.set()

    def is_lost(self, delivery: Delivery) -> bool:
        """Whether it was given back, unstarted."""
        return delivery in self._given_back

    # Giving it up

    async def release(self) -> int:
        """Let the next process have it; how many deliveries were given back. Raises BrokerLostError."""
        async with broker_border("the partition is not released", timeout_s=START_PATIENCE_S + 2 * METHOD_TIMEOUT_S):
            await self._queue.cancel(self._tag, timeout=METHOD_TIMEOUT_S)
            await self._until_started()
            given_back = await self._give_back()
            await self._channel.queue_delete(self._lock, timeout=METHOD_TIMEOUT_S)
        self._closing = asyncio.create_task(self._close_when_settled(), name=f"close {self._queue.name}")
        return given_back

    async def _until_started(self) -> None:
        try:
            async with asyncio.timeout(START_PATIENCE_S):
                while self._unstarted:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            _log.info(
                "handlers could not start in time: their dispatches go to the next process",
                extra={"action": "given_back", "queue": self._queue.name, "count": len(self._unstarted)},
            )

    async def _give_back(self) -> int:
        """In order: a quorum queue puts what comes back in front of the rest, in the order in which it comes."""
        given_back = list(self._unstarted)
        self._given_back.update(given_back)
        self._unstarted.clear()
        for delivery in given_back:
            await delivery.message.nack(requeue=True)
        return len(given_back)

    async def _close_when_settled(self) -> None:
        while self._taken and not self._channel.is_closed:
            self._changed.clear()
            await self._changed.wait()
        try:
            async with broker_border("close", timeout_s=METHOD_TIMEOUT_S):
                await self._channel.close()
        except BrokerLostError as error:
            _log.debug("channel not closed", extra={"action": "close_failed", "reason": str(error)})


async def _gain(connection: AbstractConnection, lock: str) -> bool:
    """Whether this connection has the lock now. On a channel of its own, which a refusal closes."""
    channel = await connection.channel(publisher_confirms=False)
    try:
        await channel.declare_queue(lock, exclusive=True, timeout=METHOD_TIMEOUT_S)
    except ChannelLockedResource:
        return False
    await channel.close()
    return True
