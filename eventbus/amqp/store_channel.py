"""A channel on which copies of deliveries are stored: confirmed, many at once, opened again when it was closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aio_pika.exceptions import PublishError

from eventbus.amqp.border import broker_border
from eventbus.errors import UnroutableError

if TYPE_CHECKING:
    from aio_pika import Message
    from aio_pika.abc import AbstractChannel, AbstractConnection

    from eventbus.amqp.link import Link

# Long, because an alarm of the broker only delays a confirm: who repeats the publish meanwhile stores it twice.
# A dead connection ends the wait sooner, by its heartbeat.
STORE_TIMEOUT_S = 600.0


class StoreChannel:
    """On `link`, whose alarms must not concern deliveries. `generation` grows with each channel that is opened."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lock = asyncio.Lock()
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self.generation = 0

    async def open(self) -> AbstractChannel:
        """The open channel. Raises BrokerLostError."""
        connection = self._link.connection
        async with self._lock:
            channel = self._channel
            if channel is None or channel.is_closed or self._connection is not connection:
                async with broker_border("no channel to store copies of deliveries on"):
                    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                self._connection, self._channel = connection, channel
                self.generation += 1
        return channel

    async def store(self, message: Message, *, routing_key: str, exchange: str = "") -> None:
        """Publish, and wait for the confirm.

        Raises UnroutableError if no queue took it, and BrokerLostError if nobody knows.
        """
        channel = await self.open()
        async with broker_border(f"a copy for {routing_key!r} is unconfirmed", timeout_s=STORE_TIMEOUT_S):
            target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
            try:
                await target.publish(message, routing_key, mandatory=True)
            except PublishError as error:
                raise UnroutableError(
                    f"no queue takes copies for {routing_key!r} on {exchange or 'the broker'!r}"
                ) from error
