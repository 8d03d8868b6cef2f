"""The streams of the guilds' caches: declared, bound, read from an offset on, and appended to.

docs/decisions/0009-caches.md says why they are streams.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aio_pika import DeliveryMode, ExchangeType, Message

from eventbus.amqp.border import broker_border
from eventbus.amqp.exclusive_lock import locked
from eventbus.amqp.store_channel import StoreChannel
from eventbus.errors import BrokerLostError, StreamGapError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
    from pamqp.common import FieldTable

    from eventbus.amqp.link import Link
    from eventbus.names import Names

_log = logging.getLogger(__name__)

METHOD_TIMEOUT_S = 10.0
APPEND_TIMEOUT_S = 30.0
RETRY_S = 0.5
PREFETCH = 500
ACK_EVERY = 100
MAX_HOLE = 16
"""RabbitMQ takes an offset for itself now and then; what its retention cuts off is much longer."""
MARKER: Final = "MARKER"


def _arguments(max_mib: int, segment_mib: int) -> FieldTable:
    return {
        "x-queue-type": "stream",
        "x-max-length-bytes": max_mib << 20,
        "x-stream-max-segment-size-bytes": segment_mib << 20,
    }


_KINDS: Final[dict[str | None, FieldTable]] = {
    None: _arguments(2048, 32),
    "guilds": _arguments(2048, 32),
    "index": _arguments(4, 1),
}


class StreamEntry(NamedTuple):
    """One message of a stream."""

    offset: int
    event_type: str | None
    message_id: str
    headers: Mapping[str, Any]
    body: bytes


class CacheStreams:
    """The three streams of one choice of heavy parts. `reading` serves nothing that publishes, `writing` appends."""

    def __init__(
        self, reading: Link, writing: Link, names: Names, *, heavy: tuple[str, ...], types: Iterable[str]
    ) -> None:
        self._link = reading
        self._names = names
        self._heavy = heavy
        self._types = sorted(types)
        self._store = StoreChannel(writing)
        reading.on_connect(self._set_up)

    def name(self, kind: str | None = None) -> str:
        """A stream's name: None for the dispatches, `guilds`, `index`."""
        return self._names.cache(self._heavy, kind)

    @property
    def types(self) -> frozenset[str]:
        """The event types that the stream of dispatches is bound to."""
        return frozenset(self._types)

    async def _set_up(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=False)
        for kind in _KINDS:
            await self._declare(channel, kind)
        await self._bind(channel)
        await channel.close()

    async def _declare(self, channel: AbstractChannel, kind: str | None) -> None:
        await channel.declare_queue(self.name(kind), durable=True, arguments=_KINDS[kind], timeout=METHOD_TIMEOUT_S)

    async def _bind(self, channel: AbstractChannel) -> None:
        stream = await channel.get_queue(self.name(), ensure=False)
        for event_type in self._types:
            exchange = self._names.event(event_type)
            await channel.declare_exchange(exchange, ExchangeType.TOPIC, durable=True, timeout=METHOD_TIMEOUT_S)
            await stream.bind(exchange, "#", timeout=METHOD_TIMEOUT_S)

    async def bind_again(self) -> None:
        """Bind all types, because an exchange may have been deleted. Raises BrokerLostError."""
        connection = self._link.connection
        async with broker_border("the cache's stream was not bound"):
            channel = await connection.channel(publisher_confirms=False)
            await self._bind(channel)
            await channel.close()

    # Reading

    async def read(self, kind: str | None, start: int | None) -> AsyncGenerator[StreamEntry, None]:
        """Entries from offset `start` (None: the first there is) on, for ever, over reconnects.

        Raises StreamGapError if what comes is not what must come next.
        """
        expected = start
        while True:
            await self._link.is_up.wait()
            is_first = True
            try:
                async with aclosing(self._attached(kind, "first" if expected is None else expected)) as entries:
                    async for entry in entries:
                        if is_first and expected is not None and not 0 <= entry.offset - expected <= MAX_HOLE:
                            raise StreamGapError(self.name(kind), expected, entry.offset)
                        is_first = False
                        expected = entry.offset + 1
                        yield entry
            except BrokerLostError as error:
                _log.debug("stream waits for the broker", extra={"action": "stream_lost", "reason": str(error)})
            await asyncio.sleep(RETRY_S)

    async def _attached(self, kind: str | None, start: int | str) -> AsyncGenerator[StreamEntry, None]:
        """Entries until the channel or the consumer ends."""
        connection = self._link.connection
        arrived: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()  # bounded by the prefetch
        async with broker_border(f"the stream {self.name(kind)!r} is not read"):
            channel = await self._consume(connection, kind, start, arrived)
        try:
            count = 0
            while (message := await arrived.get()) is not None:
                yield _entry(message)
                count += 1
                if count % ACK_EVERY == 0:
                    async with broker_border("acknowledge what was read", timeout_s=METHOD_TIMEOUT_S):
                        await message.ack(multiple=True)
        finally:
            await _close(channel)

    async def _consume(
        self,
        connection: AbstractConnection,
        kind: str | None,
        start: int | str,
        arrived: asyncio.Queue[AbstractIncomingMessage | None],
    ) -> AbstractChannel:
        channel = await connection.channel(publisher_confirms=False)
        channel.close_callbacks.add(lambda *_: arrived.put_nowait(None), weak=False)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: arrived.put_nowait(None))
        await channel.set_qos(prefetch_count=PREFETCH, timeout=METHOD_TIMEOUT_S)
        await self._declare(channel, kind)
        stream = await channel.get_queue(self.name(kind), ensure=False)

        async def take(message: AbstractIncomingMessage) -> None:
            arrived.put_nowait(message)

        await stream.consume(take, arguments={"x-stream-offset": start}, timeout=METHOD_TIMEOUT_S)
        return channel

    async def read_to_end(self, kind: str | None, start: int | None) -> AsyncGenerator[StreamEntry, None]:
        """Entries from `start` on, up to where the stream ends now."""
        end = await self.end(kind)
        async with aclosing(self.read(kind, start)) as entries:
            async for entry in entries:
                if entry.offset >= end:
                    return
                yield entry

    async def end(self, kind: str | None) -> int:
        """The offset behind all that stands in the stream: a marker is written there. Raises BrokerLostError."""
        marker = secrets.token_hex(8)
        arrived: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        async with broker_border(f"the end of {self.name(kind)!r} is unknown", timeout_s=APPEND_TIMEOUT_S):
            channel = await self._consume(self._link.connection, kind, "next", arrived)
            try:
                await self.append(kind, MARKER, b"", message_id=marker)
                while (message := await arrived.get()) is not None:
                    if message.message_id == marker:
                        return _entry(message).offset
                    await message.ack(multiple=True)  # more than the prefetch may come before it
            finally:
                await _close(channel)
        raise BrokerLostError(f"the end of {self.name(kind)!r} is unknown: its channel was closed")

    # Writing

    async def append(self, kind: str | None, event_type: str, body: bytes, **properties: Any) -> None:  # noqa: ANN401
        """Write an entry, and wait for the confirm. Raises BrokerLostError, UnroutableError."""
        message = Message(body, type=event_type, delivery_mode=DeliveryMode.PERSISTENT, **properties)
        async with broker_border(f"nothing is written to {self.name(kind)!r}", timeout_s=APPEND_TIMEOUT_S):
            await self._store.store(message, routing_key=self.name(kind))

    def writing(self) -> AbstractAsyncContextManager[object]:
        """Be the only one who writes a generation. Raises QueueBusyError if another process is, BrokerLostError."""
        return self.locked("writer")

    def locked(self, what: str) -> AbstractAsyncContextManager[object]:
        """Be the only one who does something. Raises QueueBusyError if another process does it, BrokerLostError."""
        return locked(self._link, self.name(what))


def _entry(message: AbstractIncomingMessage) -> StreamEntry:
    offset = message.headers.get("x-stream-offset")
    return StreamEntry(
        offset if isinstance(offset, int) else -1,
        message.type,
        message.message_id or "",
        message.headers,
        message.body,
    )


async def _close(channel: AbstractChannel) -> None:
    try:
        async with broker_border("close", timeout_s=METHOD_TIMEOUT_S):
            await channel.close()
    except BrokerLostError as error:
        _log.debug("close failed", extra={"action": "close_failed", "reason": repr(error)})
