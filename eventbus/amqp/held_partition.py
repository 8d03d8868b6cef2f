"""One partition of a group that this connection consumes, alone: taken with a lock, and given up in order."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from pamqp import commands

from eventbus.amqp.deliveries import Delivery
from eventbus.errors import BrokerLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventbus.amqp.consume_connection import ConsumeConnection, Consumption, Tagged

_log = logging.getLogger(__name__)

_LOCKED = "RESOURCE_LOCKED"

START_PATIENCE_S = 5.0
"""What was taken starts, if it can, before a partition moves: what is given back instead counts as a delivery."""


class HeldPartition:
    """Made by `hold`. `release` starts or gives back all that was taken, then lets the next process have it.

    The lock is an exclusive queue of the connection that consumes: both end together. RabbitMQ's single active consumer
    is not enough, since a cancelled consumer may still hold deliveries whose handlers have not started.
    """

    def __init__(self, connection: ConsumeConnection, queue: str, lock: str) -> None:
        self._connection = connection
        self._queue = queue
        self._lock = lock
        self._consumption: Consumption | None = None
        self._unstarted: dict[Delivery, None] = {}  # in the order in which they came
        self._taken: set[Delivery] = set()
        self._given_back: set[Delivery] = set()
        self._changed = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def hold(
        cls,
        connection: ConsumeConnection,
        queue: str,
        lock: str,
        *,
        prefetch_count: int,
        take: Callable[[Delivery], None],
    ) -> HeldPartition | None:
        """Consume it; None while another connection does. Raises BrokerLostError.

        All processes of a group should have the same `prefetch_count`: what a dead one had comes again in order if the
        next one takes all of it at once.
        """
        declare = commands.Queue.Declare(queue=lock, exclusive=True)
        refusal = await connection.attempt(declare, commands.Queue.DeclareOk)
        if refusal is not None:
            if _LOCKED in refusal:
                return None
            raise BrokerLostError(f"{queue!r} is not consumed: {refusal}")
        held = cls(connection, queue, lock)

        def on_message(tagged: Tagged) -> None:
            delivery = Delivery(queue, tagged.message, tagged, held)
            held._unstarted[delivery] = None
            held._taken.add(delivery)
            take(delivery)

        held._consumption = await connection.consume(queue, on_message, prefetch_count=prefetch_count)
        return held

    @property
    def is_gone(self) -> bool:
        """Whether its connection is closed: another one may have it."""
        return self._connection.is_closed

    # Progress of its deliveries

    def begin(self, delivery: Delivery) -> bool:
        """Its handlers are about to start; False if they must not."""
        if delivery.is_gone or self._connection.is_ending:
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
        consumption = self._consumption
        if consumption is None:
            return 0
        await self._connection.cancel(consumption)
        await self._until_started()
        given_back = self._give_back()
        if given_back:
            await self._connection.until_settled([consumption])
        # On the same channel: RabbitMQ keeps no order among channels, and what was given back must be back by then.
        delete = commands.Queue.Delete(queue=self._lock)
        await self._connection.ask(delete, commands.Queue.DeleteOk, channel=consumption.channel)
        closing = self._close_when_settled(consumption)
        self._closing = asyncio.create_task(closing, name=f"close {self._queue}")
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
                extra={"action": "given_back", "queue": self._queue, "count": len(self._unstarted)},
            )

    def _give_back(self) -> int:
        """In order: a quorum queue puts what comes back in front of the rest, in the order in which it comes."""
        given_back = list(self._unstarted)
        for delivery in given_back:
            delivery.requeue()
        self._given_back.update(given_back)
        self._unstarted.clear()
        return len(given_back)

    async def _close_when_settled(self, consumption: Consumption) -> None:
        while self._taken and not self.is_gone:
            self._changed.clear()
            await self._changed.wait()
        try:
            await self._connection.leave(consumption)
        except BrokerLostError as error:
            _log.debug("channel not closed", extra={"action": "close_failed", "reason": str(error)})
