"""A worker's publishing connection: raw frames out, confirms in, proof of life by an exclusive queue.

Our own client, because a general one spends 70 to 190 µs of CPU on a publish (docs/performance.md); pamqp marshals
all that is not hot. Channel 1 publishes in confirm mode, channel 2 declares and binds. Whatever closes one of them
closes the connection: its owner opens a new one and starts from what is unconfirmed. What RabbitMQ may refuse is
asked on a third channel (`attempt`), which it closes alone.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from pamqp import base, commands, exceptions, frame, header, heartbeat

from eventbus.amqp.publish_frames import DECLARE_CHANNEL, PUBLISH_CHANNEL
from eventbus.amqp.publish_topology import PublishTopology
from eventbus.errors import BrokerLostError, RelayError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pamqp.common import FieldTable

    from eventbus.amqp.broker import Broker

_log = logging.getLogger(__name__)

F = TypeVar("F", bound=base.Frame)

HEARTBEAT_S = 5
OPEN_TIMEOUT_S = 10.0
METHOD_TIMEOUT_S = 10.0
"""A method is given up when the broker was silent for so long: on a slow link its answer stands behind much else."""
MAX_METHOD_S = 60.0
ATTEMPT_CHANNELS = range(3, 1000)

_ALARM = "RabbitMQ takes nothing from publishers now (alarm)"
_METHOD_FRAME = 1
_FRAME_TYPES = (1, 2, 3, 8)
_REFUSALS = ("ACCESS_REFUSED", "NOT_ALLOWED")
_HEAD = struct.Struct(">BHI")
_CONFIRM = struct.Struct(">BHIHHQB")
_CONFIRM_SIZE = 13
_BASIC_ACK = (60, 80)
_BASIC_NACK = (60, 120)


class PublishConnection(asyncio.Protocol):
    """One connection, from `open()` until `closed` is done (its result is the reason).

    `on_confirm(delivery_tag, multiple, ok)` is called for every confirm. `is_writable` is False while the broker or the
    socket takes no more; `on_writable()` is called when that ends.
    """

    def __init__(
        self, broker: Broker, *, on_confirm: Callable[[int, bool, bool], None], on_writable: Callable[[], None]
    ) -> None:
        self._broker = broker
        self._on_confirm = on_confirm
        self._on_writable = on_writable
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._reply: asyncio.Future[base.Frame] | None = None
        self._reply_channel = 0
        self._unclaimed_counts: Counter[int] = Counter()  # by channel: RabbitMQ keeps no order among them
        self.returned_count = 0
        self._method_lock = asyncio.Lock()
        self._attempt_lock = asyncio.Lock()
        self._attempt_channel: int | None = None
        self._attempt_channels = itertools.cycle(ATTEMPT_CHANNELS)
        self.topology = PublishTopology(self)
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self._paused = False
        self.is_blocked = False
        self.frame_max = 131072
        self._received_at = self._loop.time()
        self._beat_timer: asyncio.TimerHandle | None = None

    @classmethod
    async def open(
        cls,
        broker: Broker,
        *,
        name: str,
        on_confirm: Callable[[int, bool, bool], None],
        on_writable: Callable[[], None],
    ) -> PublishConnection:
        """Connect, log in, open the channels. Raises BrokerUnreachableError or BrokerRefusedError."""
        connection = cls(broker, on_confirm=on_confirm, on_writable=on_writable)
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await connection._connect(name)
        except (OSError, TimeoutError, UnicodeError, BrokerLostError) as error:
            connection.abort("could not be opened")
            if isinstance(error, BrokerLostError) and any(word in str(error) for word in _REFUSALS):
                raise broker.refused(str(error)) from error
            raise broker.unreachable(error) from error
        except BaseException:
            connection.abort("could not be opened")
            raise
        return connection

    async def _connect(self, name: str) -> None:
        tls = self._broker.tls
        host = self._broker.host
        self._reply = self._loop.create_future()
        await self._loop.create_connection(
            lambda: self, host, self._broker.port, ssl=tls, server_hostname=host if tls else None
        )
        self.write(b"AMQP\x00\x00\x09\x01")
        start = await self._reply
        if not isinstance(start, commands.Connection.Start):
            raise self._misunderstood(start, commands.Connection.Start)
        response = f"\0{self._broker.user}\0{self._broker.password}"
        properties: FieldTable = {
            "product": "hikari-relay",
            "connection_name": name,
            "capabilities": {
                "publisher_confirms": True,
                "basic.nack": True,
                "connection.blocked": True,
                "authentication_failure_close": True,
            },
        }
        start_ok = commands.Connection.StartOk(
            client_properties=properties, mechanism="PLAIN", response=response, locale="en_US"
        )
        tune = await self.ask(start_ok, commands.Connection.Tune, channel=0)
        self.frame_max = tune.frame_max or self.frame_max
        tune_ok = commands.Connection.TuneOk(
            channel_max=tune.channel_max, frame_max=self.frame_max, heartbeat=HEARTBEAT_S
        )
        self._send(tune_ok, 0)
        await self.ask(commands.Connection.Open(virtual_host=self._broker.vhost), commands.Connection.OpenOk, channel=0)
        self._beat()
        for channel in (PUBLISH_CHANNEL, DECLARE_CHANNEL):
            await self.ask(commands.Channel.Open(), commands.Channel.OpenOk, channel=channel)
        await self.ask(commands.Confirm.Select(), commands.Confirm.SelectOk, channel=PUBLISH_CHANNEL)

    # What the owner calls

    @property
    def is_writable(self) -> bool:
        """Whether publishes should be written now."""
        return not (self._paused or self.is_blocked or self.closed.done())

    def publish(self, chunks: Sequence[bytes]) -> None:
        """Write rendered publishes, in order, in one go; their delivery tags count up from 1."""
        if self._transport is not None and not self.closed.done():
            self._transport.writelines(chunks)

    async def close(self) -> None:
        """Close in good order, within a bound."""
        try:
            async with asyncio.timeout(2.0):
                await self.ask(
                    commands.Connection.Close(reply_code=200, reply_text="bye", class_id=0, method_id=0),
                    commands.Connection.CloseOk,
                    channel=0,
                )
        except (TimeoutError, RelayError) as error:
            _log.debug("unclean close", extra={"action": "publish_connection_close", "reason": str(error)})
        self.abort("closed by us")

    def abort(self, reason: str) -> None:
        """Drop the connection now."""
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        if not self.closed.done():
            self.closed.set_result(reason)
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(BrokerLostError(reason))
            self._reply.exception()  # observed: whoever waits gets it, and maybe nobody does
        if self._transport is not None:
            self._transport.abort()

    # Methods and their replies

    async def ask(
        self,
        method: base.Frame,
        reply_type: type[F],
        *,
        channel: int = DECLARE_CHANNEL,
        silence_s: float | None = None,
    ) -> F:
        """Send `method` and wait for its reply; a refusal closes the connection, as does a broker that is silent.

        Raises BrokerLostError.
        """
        reply = await self._converse(method, channel, METHOD_TIMEOUT_S if silence_s is None else silence_s)
        if not isinstance(reply, reply_type):
            raise self._misunderstood(reply, reply_type)
        return reply

    async def attempt(self, method: base.Frame, reply_type: type[base.Frame]) -> str | None:
        """Send `method` on a channel of its own: None, or why RabbitMQ refuses it. Raises BrokerLostError."""
        async with self._attempt_lock:
            self._check_open()
            channel, self._attempt_channel = self._attempt_channel, None
            if channel is None:  # a channel that was closed, or left in the middle of something, is not used again
                channel = next(self._attempt_channels)
                await self.ask(commands.Channel.Open(), commands.Channel.OpenOk, channel=channel)
            reply = await self._converse(method, channel, METHOD_TIMEOUT_S)
            if isinstance(reply, commands.Channel.Close):
                return f"{reply.reply_text} ({reply.reply_code})"
            if not isinstance(reply, reply_type):
                raise self._misunderstood(reply, reply_type)
            self._attempt_channel = channel
            return None

    async def _converse(self, method: base.Frame, channel: int, silence_s: float) -> base.Frame:
        async with self._method_lock:
            self._check_open()
            reply: asyncio.Future[base.Frame] = self._loop.create_future()
            self._reply, self._reply_channel = reply, channel
            self._send(method, channel)
            asked_at = self._loop.time()
            try:
                while not (await asyncio.wait([reply], timeout=silence_s))[0]:
                    self._check_patience(method, asked_at, silence_s)
            finally:
                # The answer comes all the same: it is not the next one's.
                self._unclaimed_counts[channel] += reply.cancel()
            return await reply

    def _check_open(self) -> None:
        if self.closed.done():
            raise BrokerLostError(f"the publishing connection is gone: {self.closed.result()}")
        if self.is_blocked:
            raise BrokerLostError(_ALARM)

    def _check_patience(self, method: base.Frame, asked_at: float, silence_s: float) -> None:
        now = self._loop.time()
        if now - self._received_at >= silence_s or now - asked_at >= MAX_METHOD_S:
            self.abort(f"no answer to {method.name} within {now - asked_at:.0f} s")
            raise BrokerLostError(self.closed.result())

    def _misunderstood(self, reply: base.Frame, reply_type: type[base.Frame]) -> BrokerLostError:
        self.abort(f"RabbitMQ answered {reply.name} where {reply_type.name} was due")
        return BrokerLostError(self.closed.result())

    def _send(self, method: base.Frame, channel: int) -> None:
        self.write(frame.marshal(method, channel))

    def write(self, data: bytes) -> None:
        """Write frames as they are; nothing happens on a closed connection."""
        if self._transport is not None and not self.closed.done():
            self._transport.write(data)

    def _beat(self) -> None:
        if self._loop.time() - self._received_at > 2 * HEARTBEAT_S:
            self.abort(f"RabbitMQ was silent for {2 * HEARTBEAT_S} s")
            return
        self.write(frame.marshal(heartbeat.Heartbeat(), 0))
        self._beat_timer = self._loop.call_later(HEARTBEAT_S / 2, self._beat)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a stream transport is needed")
        self._transport = transport
        transport.set_write_buffer_limits(high=1 << 20)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self.abort(str(exc) if exc else "RabbitMQ closed the connection")

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._paused = False
        if self.is_writable:
            self._on_writable()

    def data_received(self, data: bytes) -> None:
        """Frames from the broker, whole or in pieces."""
        self._received_at = self._loop.time()
        buffer = self._buffer
        buffer += data
        start, end = 0, len(buffer)
        while end - start >= _HEAD.size and not self.closed.done():
            frame_type, channel, size = _HEAD.unpack_from(buffer, start)
            if frame_type not in _FRAME_TYPES:
                self.abort("what answers at that port does not speak AMQP 0-9-1")
                return
            if end - start < size + 8:
                break
            if size == _CONFIRM_SIZE and channel == PUBLISH_CHANNEL and frame_type == _METHOD_FRAME:
                self._on_confirm_frame(start)
            else:
                self._on_frame(bytes(buffer[start : start + size + 8]))
            start += size + 8
        del buffer[:start]

    def _on_confirm_frame(self, start: int) -> None:
        _, _, _, class_id, method_id, tag, bits = _CONFIRM.unpack_from(self._buffer, start)
        if (class_id, method_id) == _BASIC_ACK:
            self._on_confirm(tag, bool(bits & 1), True)
        elif (class_id, method_id) == _BASIC_NACK:
            self._on_confirm(tag, bool(bits & 1), False)
        else:
            self._on_frame(bytes(self._buffer[start : start + _CONFIRM_SIZE + 8]))

    def _on_frame(self, raw: bytes) -> None:
        try:
            _, channel, content = frame.unmarshal(raw)
        except exceptions.PAMQPException as error:
            self.abort(f"RabbitMQ sent a frame that is not AMQP: {error}")
            return
        if isinstance(content, heartbeat.Heartbeat | header.ProtocolHeader):
            return
        if isinstance(content, commands.Channel.Close) and channel in ATTEMPT_CHANNELS:
            self._send(commands.Channel.CloseOk(), channel)
        elif isinstance(content, commands.Connection.Close | commands.Channel.Close):
            self.abort(f"{content.reply_text} ({content.reply_code})")
            return
        if isinstance(content, commands.Connection.Blocked):
            self._on_blocked()
            _log.warning("the broker takes no publishes", extra={"action": "blocked", "reason": content.reason})
        elif isinstance(content, commands.Connection.Unblocked):
            self.is_blocked = False
            _log.info("the broker takes publishes again", extra={"action": "unblocked"})
            self._on_writable()
        elif isinstance(content, commands.Basic.Return):
            self.returned_count += 1
        elif isinstance(content, base.Frame) and self._unclaimed_counts[channel] > 0:
            self._unclaimed_counts[channel] -= 1
        elif isinstance(content, base.Frame) and (reply := self._reply_due(channel)) is not None:
            reply.set_result(content)
        else:
            _log.debug("unexpected frame", extra={"action": "unexpected_frame", "channel": channel})

    def _reply_due(self, channel: int) -> asyncio.Future[base.Frame] | None:
        reply = self._reply
        return reply if reply is not None and not reply.done() and channel == self._reply_channel else None

    def _on_blocked(self) -> None:
        self.is_blocked = True
        reply = self._reply_due(self._reply_channel)
        if reply is not None:
            # An alarm is no death: the answer comes when it is over, and is nobody's then.
            self._unclaimed_counts[self._reply_channel] += 1
            reply.set_exception(BrokerLostError(_ALARM))
            reply.exception()  # observed, as in `abort`
