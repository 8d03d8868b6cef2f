"""A group's command syncs on the broker: one process at a time, a stream of what was sent, and who runs with it.

docs/decisions/0010-command-sync.md says why it is so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import secrets
from typing import TYPE_CHECKING, Final

import aiormq.exceptions
from aio_pika import DeliveryMode, Message

from eventbus import messages
from eventbus.amqp.border import broker_border
from eventbus.amqp.exclusive_lock import locked
from eventbus.amqp.queue_info import consumer_count
from eventbus.amqp.rpc import publish_routed
from eventbus.command_record import command_record
from eventbus.errors import QueueBusyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
    from pamqp.common import FieldTable

    from eventbus.amqp.link import Link
    from eventbus.command_record import CommandsSynced
    from eventbus.names import Names

_log = logging.getLogger(__name__)

STREAM_ARGUMENTS: Final[FieldTable] = {
    "x-queue-type": "stream",
    "x-max-length-bytes": 4 << 20,
    "x-stream-max-segment-size-bytes": 1 << 20,
}
PREFETCH = 200
FIRST_WAIT_S = 0.05
MAX_WAIT_S = 1.0


class CommandRecords:
    """One process's way to them. Every method raises BrokerLostError."""

    def __init__(self, link: Link, names: Names, group: str) -> None:
        self._link = link
        self._names = names
        self._group = group
        self._joined: set[str] = set()
        self._channels: dict[str, AbstractChannel] = {}
        link.on_connect(self._join_again)

    # One at a time

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until no other process of the group has its turn, however long; it ends with its process, too."""
        wait_s = FIRST_WAIT_S
        async with contextlib.AsyncExitStack() as stack:
            while True:
                try:
                    await stack.enter_async_context(locked(self._link, self._names.command_turn(self._group)))
                    break
                except QueueBusyError:
                    await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                    wait_s = min(wait_s * 1.5, MAX_WAIT_S)
            yield

    # What was sent

    async def read(self) -> list[CommandsSynced]:
        """All there are, oldest first."""
        marker = secrets.token_hex(8)
        found: list[CommandsSynced] = []
        ended = asyncio.Event()

        async def take(delivery: AbstractIncomingMessage) -> None:
            await delivery.ack()
            if delivery.message_id == marker:
                ended.set()
            elif delivery.type == "commands_synced":
                self._take(delivery.body, found)

        async with broker_border("the record of command syncs cannot be read"):
            channel = await self._open()
            await channel.set_qos(prefetch_count=PREFETCH)
            await publish_routed(
                channel, "", self._names.commands(self._group), Message(b"", message_id=marker, type="marker")
            )
            queue = await channel.get_queue(self._names.commands(self._group), ensure=False)
            await queue.consume(take, arguments={"x-stream-offset": "first"})
            await ended.wait()
            await channel.close()
        return found

    def _take(self, body: bytes, found: list[CommandsSynced]) -> None:
        try:
            found.append(messages.decode(command_record, body))
        except messages.MalformedMessageError as error:
            extra = {"action": "command_record_refused", "group": self._group, "reason": str(error)}
            _log.warning("a record of a command sync was refused: it is as if it were not there", extra=extra)

    async def append(self, record: CommandsSynced) -> None:
        """Write one, and wait for the confirm."""
        message = Message(
            messages.encode(record),
            content_type="application/json",
            delivery_mode=DeliveryMode.PERSISTENT,
            type=record.kind,
        )
        async with broker_border("a command sync was not recorded"):
            channel = await self._open()
            await publish_routed(channel, "", self._names.commands(self._group), message)
            await channel.close()

    async def _open(self) -> AbstractChannel:
        channel = await self._link.connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.declare_queue(self._names.commands(self._group), durable=True, arguments=STREAM_ARGUMENTS)
        return channel

    # Who runs with it

    async def join(self, made: str) -> None:
        """Let the group see, as long as this process lives, that it runs with the commands whose digest is `made`."""
        self._joined.add(made)
        await self._consume(self._link.connection, made)

    async def leave(self, made: str) -> None:
        """Take `join` back."""
        self._joined.discard(made)
        channel = self._channels.pop(made, None)
        if channel is not None:
            async with broker_border("the commands that this process runs with stay on the broker"):
                await channel.close()

    async def is_run(self, made: str) -> bool:
        """Whether any process of the group, this one included, runs with them."""
        return bool(await consumer_count(self._link, self._names.commands(self._group, made)))

    async def _join_again(self, connection: AbstractConnection) -> None:
        self._channels.clear()
        for made in self._joined:
            await self._consume(connection, made)

    async def _consume(self, connection: AbstractConnection, made: str) -> None:
        async with broker_border("the group cannot see which commands this process runs with"):
            while made not in self._channels:  # the queue goes with its last consumer, maybe as we come
                with contextlib.suppress(aiormq.exceptions.ChannelNotFoundEntity):
                    self._channels[made] = await self._channel_of(connection, made)

    async def _channel_of(self, connection: AbstractConnection, made: str) -> AbstractChannel:
        channel = await connection.channel()
        name = self._names.commands(self._group, made)
        queue = await channel.declare_queue(name, durable=True, auto_delete=True, arguments={"x-max-length": 1})
        await queue.consume(_ignore, no_ack=True)
        return channel


async def _ignore(_: AbstractIncomingMessage) -> None:
    """Nobody publishes there: it is the consumer that counts."""
