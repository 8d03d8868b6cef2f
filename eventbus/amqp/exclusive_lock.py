"""Being the only process that does something: an exclusive queue, which the broker frees when its connection ends."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiormq.exceptions

from eventbus.amqp.border import broker_border
from eventbus.amqp.rpc import is_bound
from eventbus.errors import BrokerLostError, QueueBusyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel, AbstractConnection

    from eventbus.amqp.link import Link

_log = logging.getLogger(__name__)

METHOD_TIMEOUT_S = 15.0


@asynccontextmanager
async def locked(link: Link, queue: str) -> AsyncIterator[asyncio.Event]:
    """Be the only one while the body runs; the event is set if the connection is lost meanwhile: others may come then.

    Raises QueueBusyError if another process is the one, or BrokerLostError.
    """
    lost = asyncio.Event()

    def on_close(*_: object) -> None:
        lost.set()

    connection = link.connection
    try:
        async with broker_border(f"{queue!r} is not locked"):
            channel = await connection.channel(publisher_confirms=False)
            try:
                await channel.declare_queue(queue, exclusive=True, auto_delete=True, timeout=METHOD_TIMEOUT_S)
            except aiormq.exceptions.ChannelLockedResource as error:
                raise QueueBusyError(f"another process has {queue!r} for itself now") from error
    except BrokerLostError:
        await _forget(link, connection)
        raise
    connection.close_callbacks.add(on_close, weak=False)
    channel.close_callbacks.add(on_close, weak=False)
    if connection.is_closed or channel.is_closed:
        lost.set()
    try:
        yield lost
    finally:
        connection.close_callbacks.discard(on_close)
        try:
            async with broker_border(f"{queue!r} is left to the connection's end"):
                await channel.queue_delete(queue)
                await channel.close()
        except BrokerLostError as error:
            _log.debug("unlocked by the broker", extra={"action": "lock_lost", "reason": str(error)})
            await _forget(link, connection)


async def _forget(link: Link, connection: AbstractConnection) -> None:
    """The lock may be this connection's for as long as that lives, and nobody would know."""
    if not connection.is_closed:
        await link.restart("whether a lock is taken is unknown")


class LockProbe:
    """Whether a lock is taken, for who asks often: RabbitMQ writes each lock that it refuses into its log."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._channel: AbstractChannel | None = None
        link.on_connect(self._open)

    async def _open(self, connection: AbstractConnection) -> None:
        self._channel = await self._link.open_channel(connection, confirms=True)

    async def is_taken(self, queue: str) -> bool:
        """Whether another process has it, or this one. Raises BrokerLostError."""
        if self._channel is None or self._channel.is_closed:
            raise BrokerLostError("the connection to RabbitMQ is being opened again")
        return await is_bound(self._channel, "", queue)
