"""What the broker says about a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiormq.exceptions

from eventbus.errors import BrokerLostError

if TYPE_CHECKING:
    from eventbus.amqp.link import Link


async def consumer_count(link: Link, queue: str) -> int | None:
    """How many consumers `queue` has; None if there is no such queue. Raises BrokerLostError."""
    try:
        channel = await link.connection.channel()
    except (aiormq.exceptions.AMQPError, OSError, RuntimeError) as error:
        raise BrokerLostError(f"RabbitMQ gave no answer about {queue!r}: {error!r}") from error
    try:
        declared = await channel.declare_queue(queue, passive=True)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return None
    except (aiormq.exceptions.AMQPError, OSError, RuntimeError) as error:
        raise BrokerLostError(f"RabbitMQ gave no answer about {queue!r}: {error!r}") from error
    else:
        return declared.declaration_result.consumer_count
    finally:
        if not channel.is_closed:
            await channel.close()
