"""A consumer's connection for deliveries: frames parsed straight, and many settled by one write and few frames.

Our own client, because a general one spends more on a delivery than hikari does on its event: three frames that a
coroutine unmarshals each, and a write to the socket for every single acknowledgement (docs/performance.md). Nothing is
published here, so that no alarm of the broker stops it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
import sys
from typing import TYPE_CHECKING, Final

from pamqp import commands

from eventbus.amqp.held_back import HeldBack
from eventbus.amqp.raw_connection import BODY_FRAME, FRAME_HEAD, HEADER_FRAME, METHOD_FRAME, RawConnection
from eventbus.amqp.raw_message import RawMessage
from eventbus.errors import BrokerLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pamqp import base
    from pamqp.common import FieldTable

    from eventbus.amqp.broker import Broker

_log = logging.getLogger(__name__)

SETTLE_DELAY_S = 0.005
"""What is settled within that time goes in one write."""
MAX_SETTLE_BATCH = 50
FIRST_CONSUME_CHANNEL = 2

_METHOD_ID = struct.Struct(">HH")
_DELIVER: Final = (60, 60)
_BODY_SIZE = struct.Struct(">Q")
_TAG = struct.Struct(">QB")
_SETTLE = struct.Struct(">BHIHHQBB")
_SETTLE_SIZE = 13
_BASIC = 60
_ACK = 80
_NACK = 120
_MULTIPLE = 1
_REQUEUE = 2
_FRAME_END = 0xCE


class Tagged:
    """A message and the way to settle it: `settle` once, or the broker delivers it again."""

    __slots__ = ("_consumption", "_tag", "message")

    def __init__(self, consumption: Consumption, tag: int, message: RawMessage) -> None:
        self._consumption = consumption
        self._tag = tag
        self.message = message

    @property
    def is_gone(self) -> bool:
        """Whether its connection is closed, so that it cannot be settled any more."""
        return self._consumption.connection.is_closed

    def settle(self, *, requeue: bool) -> bool:
        """Acknowledge it, or give it back to the queue; False if the connection is gone, or it is settled already."""
        return self._consumption.settle(self._tag, requeue=requeue)


class Consumption:
    """One queue that is consumed, on a channel of its own; `take(tagged)` is called for each delivery, in order."""

    def __init__(
        self,
        connection: ConsumeConnection,
        channel: int,
        prefetch_count: int | None,
        take: Callable[[Tagged], None],
        on_cancel: Callable[[], None] | None,
    ) -> None:
        self.connection = connection
        self.is_settled_at_once = prefetch_count is None
        self.on_cancel = on_cancel
        self.channel = channel
        self.consumer_tag = f"c{channel}"
        self._batch = max(1, min((prefetch_count or 1) // 4, MAX_SETTLE_BATCH))
        self._take = take
        self._unsettled: dict[int, None] = {}
        """Delivery tags, in order; at most the prefetch."""
        self._acked: list[int] = []
        self._returned: list[int] = []
        self.held_back = HeldBack()
        self._tag = 0
        self._is_redelivered = False
        self._header = b""
        self._missing = 0
        self._parts: list[bytes] = []

    def settle(self, tag: int, *, requeue: bool) -> bool:
        """Settle soon, together with others; False if connection or channel is gone, or it is settled already."""
        if self.connection.is_closed or tag not in self._unsettled:
            return False
        del self._unsettled[tag]
        (self._returned if requeue else self._acked).append(tag)
        self.connection.settle_soon(self, self._batch)
        return True

    def settlements(self, now: float) -> bytes:
        """What waits to be settled, in frames: one for all acknowledgements that no unsettled delivery comes before.

        A quorum queue writes each frame to its log, however many deliveries it settles.
        """
        first = next(iter(self._unsettled), sys.maxsize)
        together = [tag for tag in self._acked if tag < first]
        frames = [self._frame(_NACK, tag, _REQUEUE) for tag in self._returned]  # before what would cover them
        if together:
            frames.append(self._frame(_ACK, max(together), _MULTIPLE))
        frames += [self._frame(_ACK, tag, 0) for tag in self._acked if tag > first]
        self._acked, self._returned = [], []
        self.held_back.wrote(now, len(frames))
        return b"".join(frames)

    def _frame(self, method: int, tag: int, bits: int) -> bytes:
        return _SETTLE.pack(METHOD_FRAME, self.channel, _SETTLE_SIZE, _BASIC, method, tag, bits, _FRAME_END)

    def on_deliver(self, buffer: bytearray, payload: int) -> None:
        """Basic.Deliver: consumer tag, delivery tag, redelivered, exchange, routing key."""
        self._tag, self._is_redelivered = _TAG.unpack_from(buffer, payload + 5 + buffer[payload + 4])
        self._parts = []

    def on_header(self, content_header: bytes) -> None:
        """The content header: how long the body is, and the properties."""
        self._header = content_header
        (self._missing,) = _BODY_SIZE.unpack_from(content_header, 4)
        if not self._missing:
            self._complete(b"")

    def on_body(self, part: bytes) -> None:
        """A piece of the body, or all of it."""
        self._missing -= len(part)
        if self._missing > 0:
            self._parts.append(part)
        elif self._parts:
            self._complete(b"".join((*self._parts, part)))
        else:
            self._complete(part)

    def _complete(self, body: bytes) -> None:
        self._parts = []
        if not self.is_settled_at_once:
            self._unsettled[self._tag] = None
        try:
            message = RawMessage(self._header, body, redelivered=bool(self._is_redelivered))
            self._take(Tagged(self, self._tag, message))
        except Exception:  # noqa: BLE001 - the border of one delivery: the connection lives, and the queue counts attempts
            _log.exception("a delivery was not taken", extra={"action": "delivery_not_taken"})
            self.settle(self._tag, requeue=True)

    def forget(self) -> None:
        """The channel is gone: nothing can be settled any more."""
        self._unsettled.clear()


class ConsumeConnection(RawConnection):
    """One connection, from `open()` until `closed` is done (its result is the reason).

    A queue that is deleted while it is consumed closes it. What waits to be settled goes out before any method does.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        self._consumptions: dict[int, Consumption] = {}
        self._new_channels = itertools.count(FIRST_CONSUME_CHANNEL)
        self._free_channels: list[int] = []
        self._settling: dict[Consumption, int] = {}
        """How many deliveries of each wait to be settled."""
        self._settle_timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, broker: Broker, *, name: str) -> ConsumeConnection:
        """Connect and log in. Raises BrokerUnreachableError or BrokerRefusedError."""
        return await cls(broker).login(name)

    # Queues and exchanges; all raise BrokerLostError, and what RabbitMQ refuses closes the connection

    async def declare_queue(self, queue: str, arguments: FieldTable) -> None:
        """Declare a durable queue."""
        await self.ask(commands.Queue.Declare(queue=queue, durable=True, arguments=arguments), commands.Queue.DeclareOk)

    async def declare_own_queue(self, queue: str, arguments: FieldTable) -> None:
        """Declare a queue that goes with this connection."""
        declare = commands.Queue.Declare(queue=queue, exclusive=True, auto_delete=True, arguments=arguments)
        await self.ask(declare, commands.Queue.DeclareOk)

    async def declare_exchange(self, exchange: str, kind: str, arguments: FieldTable | None = None) -> None:
        """Declare a durable exchange."""
        declare = commands.Exchange.Declare(
            exchange=exchange, exchange_type=kind, durable=True, arguments=arguments or {}
        )
        await self.ask(declare, commands.Exchange.DeclareOk)

    async def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Bind a queue; a binding that is there already is no error."""
        bind = commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key)
        await self.ask(bind, commands.Queue.BindOk)

    async def unbind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Take a binding away; one that is not there is no error."""
        unbind = commands.Queue.Unbind(queue=queue, exchange=exchange, routing_key=routing_key)
        await self.ask(unbind, commands.Queue.UnbindOk)

    # The same without an answer: a refusal closes the connection later

    def post(self, method: base.Frame) -> None:
        """Send a method that wants no answer."""
        self._send(method, self.declare_channel)

    def declare_unanswered(self, exchange: str) -> None:
        """Declare a durable topic exchange."""
        self.post(commands.Exchange.Declare(exchange=exchange, exchange_type="topic", durable=True, nowait=True))

    def bind_unanswered(self, queue: str, exchange: str, routing_key: str) -> None:
        """Bind a queue."""
        self.post(commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key, nowait=True))

    # What may be refused, which closes nothing

    async def declare_event_exchange(self, exchange: str) -> str | None:
        """Declare a durable topic exchange: None, or why RabbitMQ refuses that."""
        declare = commands.Exchange.Declare(exchange=exchange, exchange_type="topic", durable=True)
        return await self.attempt(declare, commands.Exchange.DeclareOk)

    async def try_bind(self, queue: str, exchange: str, routing_key: str) -> str | None:
        """Bind a queue: None, or why RabbitMQ refuses that."""
        bind = commands.Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key)
        return await self.attempt(bind, commands.Queue.BindOk)

    # Deliveries

    async def consume(
        self,
        queue: str,
        take: Callable[[Tagged], None],
        *,
        prefetch_count: int | None = None,
        on_cancel: Callable[[], None] | None = None,
    ) -> Consumption:
        """Have `take` called for each delivery of a queue, `prefetch_count` unsettled at most; None: settled at once.

        `on_cancel()` is called if the queue is deleted; without it, that closes the connection.
        """
        channel = self._free_channels.pop() if self._free_channels else next(self._new_channels)
        await self.open_channel(channel)
        if prefetch_count is not None:
            await self.ask(commands.Basic.Qos(prefetch_count=prefetch_count), commands.Basic.QosOk, channel=channel)
        consumption = Consumption(self, channel, prefetch_count, take, on_cancel)
        self._consumptions[channel] = consumption
        consume = commands.Basic.Consume(
            queue=queue, consumer_tag=consumption.consumer_tag, no_ack=consumption.is_settled_at_once
        )
        await self.ask(consume, commands.Basic.ConsumeOk, channel=channel)
        return consumption

    async def cancel(self, consumption: Consumption) -> None:
        """Take no more; what was delivered can still be settled."""
        cancel = commands.Basic.Cancel(consumer_tag=consumption.consumer_tag)
        await self.ask(cancel, commands.Basic.CancelOk, channel=consumption.channel)

    async def leave(self, consumption: Consumption) -> None:
        """Close the channel of a cancelled consumer: what it did not settle comes again."""
        await self.until_settled([consumption])
        close = commands.Channel.Close(reply_code=200, reply_text="bye", class_id=0, method_id=0)
        await self.ask(close, commands.Channel.CloseOk, channel=consumption.channel)
        consumption.forget()
        del self._consumptions[consumption.channel]
        self._free_channels.append(consumption.channel)

    async def _before_close(self) -> None:
        await self.until_settled(self._consumptions.values())

    async def until_settled(self, consumptions: Iterable[Consumption]) -> None:
        """Wait until RabbitMQ's queues have taken what was settled; they say nothing, so for a time."""
        self._flush()
        now = self._loop.time()
        wait_s = max((one.held_back.wait_s(now) for one in consumptions), default=0.0)
        if wait_s > 0.0 and not self.is_closed:
            await asyncio.wait([self.closed], timeout=wait_s)

    def settle_soon(self, consumption: Consumption, batch: int) -> None:
        """Write what waits to be settled when `batch` deliveries of a consumption do, or after SETTLE_DELAY_S."""
        self._settling[consumption] = self._settling.get(consumption, 0) + 1
        if self._settling[consumption] >= batch:
            self._flush()
        elif self._settle_timer is None:
            self._settle_timer = self._loop.call_later(SETTLE_DELAY_S, self._flush)

    def _flush(self) -> None:
        if self._settle_timer is not None:
            self._settle_timer.cancel()
            self._settle_timer = None
        if self._settling:
            settling, self._settling = self._settling, {}
            now = self._loop.time()
            self.write(b"".join(consumption.settlements(now) for consumption in settling))

    def _send(self, method: base.Frame, channel: int) -> None:
        self._flush()
        super()._send(method, channel)

    def abort(self, reason: str) -> None:
        """Drop the connection now, and what waits to be settled with it."""
        if self._settle_timer is not None:
            self._settle_timer.cancel()
        super().abort(reason)

    def _is_hot(self, frame_type: int, channel: int, start: int, size: int, /) -> bool:
        consumption = self._consumptions.get(channel)
        if consumption is None:
            return False
        buffer, payload = self._buffer, start + FRAME_HEAD.size
        if frame_type == METHOD_FRAME:
            if _METHOD_ID.unpack_from(buffer, payload) != _DELIVER:
                return False
            consumption.on_deliver(buffer, payload)
        elif frame_type == HEADER_FRAME:
            consumption.on_header(bytes(buffer[payload : payload + size]))
        elif frame_type == BODY_FRAME:
            consumption.on_body(bytes(buffer[payload : payload + size]))
        else:
            return False
        return True

    def _is_news(self, content: base.Frame, channel: int, /) -> bool:
        if not isinstance(content, commands.Basic.Cancel):
            return False
        consumption = self._consumptions.pop(channel, None)
        if consumption is not None and consumption.on_cancel is not None:
            consumption.on_cancel()
        else:
            self.abort("a queue that we consume was deleted")
        return True


def ensure_open(connection: ConsumeConnection | None) -> ConsumeConnection:
    """The connection. Raises BrokerLostError if it is gone."""
    if connection is None or connection.is_closed:
        raise BrokerLostError("the connection to RabbitMQ is being opened again")
    return connection
