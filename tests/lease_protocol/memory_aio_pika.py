"""aio-pika as far as `eventbus.amqp` uses it, over a wire to the broker in memory.

Replies, deliveries and requests of a connection arrive in order; what is awaited when a connection ends fails as
aiormq lets it fail: with an error, or with a cancellation that nobody asked for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiormq.exceptions
import orjson
from aio_pika.exceptions import PublishError
from aiormq.abc import DeliveredMessage
from pamqp import commands, header

from tests.lease_protocol.memory_broker import Consumer, Letter, RefusedError, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from aio_pika import Message

    from tests.lease_protocol.memory_broker import MemoryBroker
    from tests.lease_protocol.wire import Wire

HEARTBEAT_S = 10.0
SILENCE_S = 33.0
"""aiormq gives a silent connection up after three times its heartbeat and a second."""


class ControlServer(Session):
    """Carries out, in order, what the client's side wrote."""

    def on_item(self, item: tuple[Callable[[Session], Any], asyncio.Future[Any] | None]) -> None:
        action, future = item
        try:
            result = action(self)
        except RefusedError as error:
            result = error
        if future is not None:
            self.wire.to_client((_settle, future, result))


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


class MemoryConnection:
    """aio-pika's AbstractConnection."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.close_callbacks: set[Callable[..., Any]] = set()
        self._pending: set[asyncio.Future[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._is_over = False
        self.is_set_up = False
        self._beat()

    def channel(self, *, publisher_confirms: bool = True, on_return_raises: bool = False) -> MemoryChannel:
        return MemoryChannel(self, confirms=publisher_confirms, raises=on_return_raises)

    async def close(self) -> None:
        self._lose()

    @property
    def is_closed(self) -> bool:
        return self._is_over

    def tell(self, action: Callable[[Session], Any], label: str = "") -> None:
        """Have the broker carry something out; nobody waits for it."""
        if self._is_over:
            raise aiormq.exceptions.ChannelInvalidStateError("the connection is closed")
        self.wire.to_broker((action, None), label)

    async def ask(self, action: Callable[[Session], Any], label: str = "") -> Any:
        """Have the broker carry something out; its result."""
        if self._is_over:
            raise aiormq.exceptions.ChannelInvalidStateError("the connection is closed")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._pending.add(future)
        self.wire.to_broker((action, future), label)
        try:
            return await future
        finally:
            self._pending.discard(future)

    def start(self, coroutine: Any) -> None:
        """A consumer's callback, as a task of the connection."""
        if not self._is_over:
            task = self._loop.create_task(coroutine)
            self._tasks.add(task)
            task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    def _beat(self) -> None:
        if self._is_over:
            return
        if self._loop.time() - self._heard_at > SILENCE_S:
            self._lose()
            return
        self.wire.beat()
        self._loop.call_later(HEARTBEAT_S / 2, self._beat)

    def _lose(self) -> None:
        if self._is_over:
            return
        self._is_over = True
        self.wire.close_here()
        is_silent = self.is_set_up and self.wire.process.world.random.random() < 0.5
        for future in sorted(self._pending, key=id):
            if not future.done():
                if is_silent:
                    future.cancel()
                else:
                    future.set_exception(ConnectionResetError("the connection is gone"))
        for task in tuple(self._tasks):
            task.cancel()
        for callback in tuple(self.close_callbacks):
            callback(self, None)

    # ClientEnd

    def on_item(self, item: tuple[Any, ...]) -> None:
        self._heard_at = self._loop.time()
        function, *arguments = item
        function(*arguments)

    def on_beat(self) -> None:
        self._heard_at = self._loop.time()

    def on_end(self) -> None:
        self._lose()


class MemoryCallbacks:
    """No channel is lost alone here: nobody is ever called."""

    def add(self, callback: Callable[..., Any], *, weak: bool) -> None:
        pass


class MemoryChannel:
    """aio-pika's AbstractChannel."""

    def __init__(self, connection: MemoryConnection, *, confirms: bool, raises: bool) -> None:
        self.connection = connection
        self.confirms = confirms
        self.raises = raises
        self._is_closed = False
        self._prefetch = 1000
        self.default_exchange = MemoryExchange(self, "")
        self.close_callbacks = MemoryCallbacks()
        self.on_consumer_cancel_callbacks: set[Callable[[Any], Any]] = set()  # no queue is deleted here

    @property
    def is_closed(self) -> bool:
        return self._is_closed or self.connection.is_closed

    def __await__(self) -> Generator[Any, None, MemoryChannel]:
        return self._open().__await__()

    async def _open(self) -> MemoryChannel:
        await self.connection.ask(lambda _: None)
        return self

    async def __aenter__(self) -> MemoryChannel:
        return await self._open()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._is_closed = True

    async def get_underlay_channel(self) -> MemoryChannel:
        return self

    async def set_qos(self, *, prefetch_count: int) -> None:
        self._prefetch = prefetch_count
        await self.connection.ask(lambda _: None)

    async def declare_exchange(self, name: str, *, type: str, durable: bool) -> MemoryExchange:  # noqa: A002
        assert durable
        await self.connection.ask(lambda session: session.broker.declare_exchange(name, type))
        return MemoryExchange(self, name)

    async def get_exchange(self, name: str, *, ensure: bool) -> MemoryExchange:
        assert not ensure
        return MemoryExchange(self, name)

    async def declare_queue(
        self,
        name: str = "",
        *,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        passive: bool = False,
        arguments: Any = None,
        timeout: float | None = None,
    ) -> MemoryQueue:
        del durable, auto_delete, timeout
        try:
            given = await self.connection.ask(
                lambda session: session.broker.declare_queue(
                    session, name, exclusive=exclusive, passive=passive, arguments=dict(arguments or {})
                )
            )
        except RefusedError as error:
            self._is_closed = True
            if error.code == 404:
                raise aiormq.exceptions.ChannelNotFoundEntity(error.text) from error
            raise aiormq.exceptions.ChannelLockedResource(error.text) from error
        consumer_count = await self.connection.ask(lambda session: session.broker.consumer_count(given))
        return MemoryQueue(self, given, consumer_count)

    def consumer(self, queue: str, callback: Any, *, no_ack: bool) -> Callable[[Session], Consumer]:
        """What makes the consumer at the broker."""
        connection = self.connection

        def make(session: Session) -> Consumer:
            def deliver(tag: int, letter: Letter) -> None:
                session.wire.to_client((take, tag, letter), kind_of(letter.body))

            def take(tag: int, letter: Letter) -> None:
                connection.start(callback(MemoryDelivery(connection, queue, consumer, tag, letter)))

            consumer = Consumer(session, deliver, self._prefetch, no_ack)
            return consumer

        return make


class MemoryQueue:
    """aio-pika's AbstractQueue."""

    def __init__(self, channel: MemoryChannel, name: str, consumer_count: int) -> None:
        self._channel = channel
        self.name = name
        self.declaration_result = commands.Queue.DeclareOk(name, 0, consumer_count)

    async def bind(self, exchange: str, routing_key: str) -> None:
        await self._channel.connection.ask(lambda session: session.broker.bind(self.name, exchange, routing_key))

    async def unbind(self, exchange: str, routing_key: str) -> None:
        await self._channel.connection.ask(lambda session: session.broker.unbind(self.name, exchange, routing_key))

    async def consume(self, callback: Any, *, no_ack: bool = False, arguments: Any = None) -> str:
        offset = (arguments or {}).get("x-stream-offset", "first")
        make = self._channel.consumer(self.name, callback, no_ack=no_ack)
        first = 0 if offset == "first" else int(offset)
        await self._channel.connection.ask(lambda session: session.broker.consume(self.name, make(session), first))
        return "tag"


class MemoryDelivery:
    """aio-pika's AbstractIncomingMessage."""

    def __init__(self, connection: MemoryConnection, queue: str, consumer: Consumer, tag: int, letter: Letter) -> None:
        self._connection = connection
        self._queue = queue
        self._consumer = consumer
        self._tag = tag
        self.body = letter.body
        self.correlation_id = letter.correlation_id
        self.reply_to = letter.reply_to
        self.headers = letter.headers
        self.message_id = letter.message_id

    async def ack(self, multiple: bool = False) -> None:
        self._connection.tell(
            lambda session: session.broker.ack(self._queue, self._consumer, self._tag, multiple=multiple)
        )


class MemoryExchange:
    """aio-pika's AbstractExchange."""

    def __init__(self, channel: MemoryChannel, name: str) -> None:
        self._channel = channel
        self.name = name

    async def publish(self, message: Message, routing_key: str, *, mandatory: bool = True) -> None:
        channel = self._channel
        if channel.is_closed:
            raise aiormq.exceptions.ChannelInvalidStateError("the channel is closed")
        world = channel.connection.wire.process.world
        ttl_s = message.expiration
        letter = Letter(
            message.body,
            correlation_id=message.correlation_id,
            reply_to=message.reply_to,
            message_id=message.message_id,
            expires_at=None if ttl_s is None else world.now + float(ttl_s),  # type: ignore[arg-type]
        )
        label = kind_of(message.body)

        def put(session: Session) -> bool:
            return session.broker.publish(session, self.name, routing_key, letter)

        if not channel.confirms:
            channel.connection.tell(put, label)
        elif not await channel.connection.ask(put, label) and mandatory and channel.raises:
            raise PublishError(_returned(routing_key), commands.Basic.Return())


def _returned(routing_key: str) -> DeliveredMessage:
    method = commands.Basic.Return(312, "NO_ROUTE", "", routing_key)
    return DeliveredMessage(delivery=method, header=header.ContentHeader(), body=b"", channel=None)  # type: ignore[arg-type]


def kind_of(body: bytes) -> str:
    """The kind of a control message; "ping" for a body without one."""
    return str(orjson.loads(body).get("kind", "?")) if body else "ping"


async def connect(wire: Wire, broker: MemoryBroker) -> MemoryConnection:
    """Open the client's side."""
    wire.broker = ControlServer(broker, wire)
    wire.client = connection = MemoryConnection(wire)
    await connection.ask(lambda _: None)
    connection.is_set_up = True
    return connection
