"""Reading a group's dead letters: each is looked at, and stays where it is unless it is settled.

A quorum queue cannot be browsed. The letters are taken by consumers that never acknowledge what stays, each on a
channel of its own with a full prefetch, and come back when those channels close. Two things decide how:

- What a closed channel gives back goes *behind* what was given back before, and ahead of all that was never delivered.
  So the channels close in the order in which they took, and a reader that stops early first takes all that was ever
  given back: then all of it is returned in its old order. (`basic.nack` may put letters at the end of the queue.)
- Two readers at once would mix up the order, and each would miss what the other holds. An exclusive queue beside the
  dead letters is the lock; it goes with its owner's connection.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import aiormq.exceptions
from aio_pika import DeliveryMode

from eventbus.amqp.border import broker_border
from eventbus.amqp.exact_message import ExactMessage
from eventbus.amqp.rpc import publish_routed
from eventbus.dead_letter import DeadLetter, origin_problem, retry_headers
from eventbus.errors import BrokerLostError, QueueBusyError, QueueMissingError, UnroutableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

    from eventbus.amqp.link import Link
    from eventbus.names import Names

WINDOW = 500
"""Letters that one channel holds; what is read ahead of the caller is never more."""
LOCK_TIMEOUT_S = 5.0
LOCK_POLL_S = 0.2
IDLE_TIMEOUT_S = 3.0
QUIET_POLL_S = 0.01
MAX_IDLE_COUNT = 5
CLOSE_TIMEOUT_S = 30.0


@dataclass(eq=False)
class _Window:
    """One channel and what it took; `held_count` of it is not acknowledged."""

    channel: AbstractChannel
    queue: AbstractQueue
    box: asyncio.Queue[AbstractIncomingMessage] = field(default_factory=asyncio.Queue)
    consumer_tag: str = ""
    held_count: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class HeldLetter:
    """A letter in the hands of its reader. Not acknowledged, it goes back when the reader is left."""

    letter: DeadLetter
    message: AbstractIncomingMessage = field(repr=False)
    _window: _Window = field(repr=False)

    async def ack(self) -> None:
        """Have RabbitMQ forget it. Raises BrokerLostError: it may come again."""
        async with broker_border("a dead letter was not acknowledged"):
            await self.message.ack()
        self._window.held_count -= 1


class DeadLetterReader:
    """`async with`, then iterate: the letters that are there, oldest first, as HeldLetter; each once.

    Entering raises QueueMissingError, QueueBusyError or BrokerLostError. The letters that came meanwhile are not read.
    """

    def __init__(self, link: Link, names: Names, group: str) -> None:
        self._link = link
        self._names = names
        self._group = group
        self._queue = names.dead(group)
        self._windows: list[_Window] = []
        self._sending: AbstractChannel | None = None
        self._unread_count = 0
        self._is_past_returned = False
        self.count = 0
        self.is_hurried = False
        """Set to leave at once: letters that were read before may then change places."""

    async def __aenter__(self) -> Self:
        async with broker_border(f"the dead letters of group {self._group!r} cannot be read"):
            self.count = self._unread_count = await self._ready_count()
            await self._lock()
            self.count = self._unread_count = await self._ready_count()
            self._sending = await self._link.connection.channel(publisher_confirms=True, on_return_raises=True)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            return  # the end of the connection gives all back
        if not self.is_hurried:
            await self._read_what_was_returned_before()
        async with broker_border("the dead letters were not given back in order", timeout_s=CLOSE_TIMEOUT_S):
            if len(self._windows) > 1:
                await self._until_nothing_is_on_its_way(self._windows[-1])
                await self._cancel(self._windows[-1])  # it would take what the others give back
            for window in self._windows:
                await window.channel.close()
            await self._unlock()

    async def __aiter__(self) -> AsyncIterator[HeldLetter]:
        while (held := await self._next()) is not None:
            yield held

    async def send_again(self, held: HeldLetter) -> str | None:
        """Publish to the letter's origin, wait for the confirm, then acknowledge it; why not, if that cannot be.

        Raises BrokerLostError: the letter is still there, and may have been sent.
        """
        letter = held.letter
        problem = origin_problem(letter, self._names, self._group)
        if problem is not None or self._sending is None:
            return problem or "the reader is not open"
        message = ExactMessage(letter.body, **_properties_again(held.message), headers=retry_headers(letter))
        try:
            await publish_routed(self._sending, "", str(letter.origin), message)
        except UnroutableError:
            return f"its origin {letter.origin!r} does not exist any more"
        await held.ack()
        return None

    async def _ready_count(self) -> int:
        channel = await self._link.connection.channel()
        try:
            declared = await channel.declare_queue(self._queue, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity as error:
            raise QueueMissingError(
                f"group {self._group!r} has no dead letters' queue {self._queue!r}: give --group and --namespace as its"
                f" consumers have them (`rabbitmqctl list_queues name` shows all of RabbitMQ's queues)"
            ) from error
        await channel.close()
        return declared.declaration_result.message_count or 0

    async def _lock(self) -> None:
        deadline = asyncio.get_running_loop().time() + LOCK_TIMEOUT_S
        while True:
            channel = await self._link.connection.channel()
            try:
                await channel.declare_queue(f"{self._queue}.reader", exclusive=True, auto_delete=True)
            except aiormq.exceptions.ChannelLockedResource as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise QueueBusyError(
                        f"another gw-ctl reads the dead letters of group {self._group!r}: try again when it has ended"
                    ) from error
            else:
                return await channel.close()
            await asyncio.sleep(LOCK_POLL_S)

    async def _unlock(self) -> None:
        channel = await self._link.connection.channel()
        await channel.queue_delete(f"{self._queue}.reader")
        await channel.close()

    async def _next(self) -> HeldLetter | None:
        if self._unread_count <= 0:
            return None
        window = await self._window()
        message = await self._message(window)
        if message is None:
            return None
        self._unread_count -= 1
        window.held_count += 1
        self._is_past_returned = not message.redelivered  # what was given back comes before all else
        return HeldLetter(_read(message), message, window)

    async def _window(self) -> _Window:
        """The channel to take from: the newest, or a new one when that holds all it may."""
        if not self._windows or self._windows[-1].held_count >= WINDOW:
            async with broker_border("the dead letters cannot be read"):
                self._windows.append(await self._open_window())
        return self._windows[-1]

    async def _open_window(self) -> _Window:
        if self._windows:
            await self._cancel(self._windows[-1])
        channel = await self._link.connection.channel(publisher_confirms=False)
        await channel.set_qos(prefetch_count=WINDOW)
        window = _Window(channel, await channel.get_queue(self._queue, ensure=False))
        window.consumer_tag = await window.queue.consume(window.box.put)
        return window

    async def _cancel(self, window: _Window) -> None:
        if window.consumer_tag:
            await window.queue.cancel(window.consumer_tag)
            window.consumer_tag = ""

    async def _message(self, window: _Window) -> AbstractIncomingMessage | None:
        """The next one; None when there is none any more: dropped, or in the hands of a foreign reader."""
        for _ in range(MAX_IDLE_COUNT):
            try:
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    return await window.box.get()
            except TimeoutError:
                async with broker_border(f"the dead letters of group {self._group!r} cannot be read"):
                    if not await self._ready_count():
                        return None
        raise BrokerLostError(f"RabbitMQ delivers nothing from {self._queue!r}: look at the queue and the node")

    async def _until_nothing_is_on_its_way(self, window: _Window) -> None:
        """What reaches a cancelled consumer is given back at once, ahead of all that came before it."""
        deadline = asyncio.get_running_loop().time() + IDLE_TIMEOUT_S
        while window.held_count + window.box.qsize() < WINDOW and window.box.qsize() < self._unread_count:
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(QUIET_POLL_S)

    async def _read_what_was_returned_before(self) -> None:
        while self._windows and not self._is_past_returned:
            if await self._next() is None:
                return


def _read(message: AbstractIncomingMessage) -> DeadLetter:
    properties = _properties_again(message)
    del properties["delivery_mode"]
    return DeadLetter(message.message_id, message.type, message.headers, properties, message.body)


def _properties_again(message: AbstractIncomingMessage) -> dict[str, Any]:
    """Not `expiration`, which has passed, nor `user_id`, which must be the sender's."""
    return {
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "type": message.type,
        "message_id": message.message_id,
        "timestamp": message.timestamp,
        "app_id": message.app_id,
        "priority": message.priority,
        "correlation_id": message.correlation_id,
        "reply_to": message.reply_to,
        "delivery_mode": DeliveryMode.PERSISTENT,
    }
