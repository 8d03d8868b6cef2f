"""Who holds shards by hand: keeps the commands that come, and answers as told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aio_pika import Message

from eventbus import messages
from eventbus.amqp.presence_stream import STREAM_ARGUMENTS
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

    from eventbus.names import Names


class Holder:
    """Answers "sent", unless `answer` is another function."""

    def __init__(self, channel: AbstractChannel, names: Names) -> None:
        self._channel = channel
        self._names = names
        self.commands: list[messages.GatewayCommand] = []
        self.shown: list[messages.ApplyPresence] = []
        self.answer: Callable[[Any], messages.Message] = lambda command: messages.CommandSent(shard=command.shard)

    async def hold(self, *shards: int) -> None:
        """Hold `shards` until the channel closes."""
        exchange = await self._channel.declare_exchange(self._names.shard, type="direct", durable=True)
        queue = await self._channel.declare_queue(exclusive=True, auto_delete=True)
        for shard in shards:
            await queue.bind(exchange, str(shard))
        await queue.consume(self._take, no_ack=True)

    async def _take(self, message: AbstractIncomingMessage) -> None:
        command = messages.decode(messages.inbox_message, message.body)
        if isinstance(command, messages.ApplyPresence):
            self.shown.append(command)
        else:
            assert isinstance(command, messages.GatewayCommand)
            self.commands.append(command)
        assert message.reply_to is not None
        reply = Message(messages.encode(self.answer(command)), correlation_id=message.correlation_id)
        await self._channel.default_exchange.publish(reply, message.reply_to)


async def stored_presences(channel: AbstractChannel, names: Names, *, count: int) -> list[AbstractIncomingMessage]:
    """The first `count` records of the presence stream, waiting for them; `channel` is used up by it."""
    await channel.set_qos(prefetch_count=100)
    queue = await channel.declare_queue(names.presence, durable=True, arguments=STREAM_ARGUMENTS)
    found: list[AbstractIncomingMessage] = []

    async def take(message: AbstractIncomingMessage) -> None:
        if messages.decode(messages.presence_stream_record, message.body).kind == "presence":
            found.append(message)
        await message.ack()

    await queue.consume(take, arguments={"x-stream-offset": "first"})
    await eventually(lambda: len(found) >= count)
    return found
