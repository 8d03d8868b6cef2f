"""What the broker says about a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiormq.exceptions

from eventbus.amqp.border import broker_border

if TYPE_CHECKING:
    from eventbus.amqp.link import Link


async def consumer_count(link: Link, queue: str) -> int | None:
    """How many consumers `queue` has; None if there is no such queue. Raises BrokerLostError."""
    async with broker_border(f"RabbitMQ gave no answer about {queue!r}"):
        channel = await link.connection.channel()
        try:
            declared = await channel.declare_queue(queue, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return None
        await channel.close()
        return declared.declaration_result.consumer_count
