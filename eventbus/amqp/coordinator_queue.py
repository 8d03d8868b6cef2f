"""The coordinator's RPC queue: whoever the broker makes its single active consumer leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiormq.exceptions

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue

    from eventbus.names import Names

DECLARE_TIMEOUT_S = 10.0
# Requests expire by themselves; these bound what a foreign sender can pile up or crash.
MAX_LENGTH = 10_000
DELIVERY_LIMIT = 20


async def declare_coordinator_queue(channel: AbstractChannel, names: Names) -> AbstractQueue:
    """The queue, made if it is missing."""
    arguments = {
        "x-queue-type": "quorum",
        "x-single-active-consumer": True,
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-max-length": MAX_LENGTH,
    }
    return await channel.declare_queue(
        names.coordinator, durable=True, arguments=arguments, timeout=DECLARE_TIMEOUT_S
    )


async def coordinator_queue_exists(connection: AbstractConnection, names: Names) -> bool:
    """Whether any coordinator ever ran in this namespace. Asked on a channel of its own, which a "no" closes."""
    channel = await connection.channel()
    try:
        await channel.declare_queue(names.coordinator, passive=True, timeout=DECLARE_TIMEOUT_S)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    await channel.close()
    return True
