"""The coordinator's RPC queue: whoever the broker makes its single active consumer leads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiormq.exceptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue
    from pamqp.common import FieldTable

    from eventbus.amqp.link import Link
    from eventbus.names import Names

DECLARE_TIMEOUT_S = 10.0
# Requests expire by themselves; these bound what a foreign sender can pile up or crash.
MAX_LENGTH = 10_000
DELIVERY_LIMIT = 20


async def declare_coordinator_queue(channel: AbstractChannel, names: Names) -> AbstractQueue:
    """The queue, made if it is missing."""
    arguments: FieldTable = {
        "x-queue-type": "quorum",
        "x-single-active-consumer": True,
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-max-length": MAX_LENGTH,
    }
    return await channel.declare_queue(names.coordinator, durable=True, arguments=arguments, timeout=DECLARE_TIMEOUT_S)


def on_coordinator_queue(link: Link, names: Names, tell: Callable[[bool], None]) -> None:
    """Have `tell(exists)` called on every connect: whether any coordinator ever ran in this namespace."""

    async def look(connection: AbstractConnection) -> None:
        tell(await _exists(connection, names.coordinator))

    link.on_connect(look)


async def _exists(connection: AbstractConnection, queue: str) -> bool:
    channel = await connection.channel()  # of its own, because a "no" closes it
    try:
        await channel.declare_queue(queue, passive=True, timeout=DECLARE_TIMEOUT_S)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    await channel.close()
    return True
