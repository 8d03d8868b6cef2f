"""A connection of our own to RabbitMQ, for the paths that are too hot for a general client.

Here are login, heartbeats, and methods with their answers; what is hot is in `publish_connection` and
`consume_connection`. pamqp marshals all that is not. Whatever closes a channel closes the connection: its owner opens a
new one and begins anew. What RabbitMQ may refuse is asked on a channel of its own (`attempt`), which it closes alone.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
from collections import Counter
from typing import TYPE_CHECKING, Final, Self, TypeVar

from pamqp import base, commands, exceptions, frame, header, heartbeat

from eventbus.errors import BrokerLostError, RelayError

if TYPE_CHECKING:
    from pamqp.common import FieldTable

    from eventbus.amqp.broker import Broker

_log = logging.getLogger(__name__)

F = TypeVar("F", bound=base.Frame)

OPEN_TIMEOUT_S = 10.0
METHOD_TIMEOUT_S = 10.0
"""A method is given up when the broker was silent for so long: on a slow link its answer stands behind much else."""
MAX_METHOD_S = 60.0
CLOSE_TIMEOUT_S = 2.0
ATTEMPT_CHANNELS = range(1000, 2000)
METHOD_FRAME: Final = 1
HEADER_FRAME: Final = 2
BODY_FRAME: Final = 3
FRAME_HEAD: Final = struct.Struct(">BHI")

_ALARM = "RabbitMQ takes nothing from publishers now (alarm)"
_FRAME_TYPES = (METHOD_FRAME, HEADER_FRAME, BODY_FRAME, 8)
_REFUSALS = ("ACCESS_REFUSED", "NOT_ALLOWED")


class RawConnection(asyncio.Protocol):
    """One connection, until `closed` is done (its result is the reason); `declare_channel` serves `ask`."""

    heartbeat_s = 10
    declare_channel = 1

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._reply: asyncio.Future[base.Frame] | None = None
        self._reply_channel = 0
        self._unclaimed_counts: Counter[int] = Counter()  # by channel: RabbitMQ keeps no order among them
        self._method_lock = asyncio.Lock()
        self._attempt_lock = asyncio.Lock()
        self._attempt_channel: int | None = None
        self._attempt_channels = itertools.cycle(ATTEMPT_CHANNELS)
        self._loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[str] = self._loop.create_future()
        self.is_ending = False
        """It is closed, or we began to close it: its deliveries may be with another process already."""
        self.is_blocked = False
        self.frame_max = 131072
        self._received_at = self._loop.time()
        self._beat_timer: asyncio.TimerHandle | None = None

    async def login(self, name: str) -> Self:
        """Connect, log in, open the channels. Raises BrokerUnreachableError or BrokerRefusedError."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._connect(name)
        except (OSError, TimeoutError, UnicodeError, BrokerLostError) as error:
            self.abort("could not be opened")
            if isinstance(error, BrokerLostError) and any(word in str(error) for word in _REFUSALS):
                raise self._broker.refused(str(error)) from error
            raise self._broker.unreachable(error) from error
        except BaseException:
            self.abort("could not be opened")
            raise
        return self

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
                "consumer_cancel_notify": True,
                "authentication_failure_close": True,
            },
        }
        start_ok = commands.Connection.StartOk(
            client_properties=properties, mechanism="PLAIN", response=response, locale="en_US"
        )
        tune = await self.ask(start_ok, commands.Connection.Tune, channel=0)
        self.frame_max = tune.frame_max or self.frame_max
        tune_ok = commands.Connection.TuneOk(
            channel_max=tune.channel_max, frame_max=self.frame_max, heartbeat=self.heartbeat_s
        )
        self._send(tune_ok, 0)
        await self.ask(commands.Connection.Open(virtual_host=self._broker.vhost), commands.Connection.OpenOk, channel=0)
        self._beat()
        await self._open_channels()

    async def _open_channels(self) -> None:
        await self.open_channel(self.declare_channel)

    async def open_channel(self, channel: int) -> None:
        """Open a channel. Raises BrokerLostError."""
        await self.ask(commands.Channel.Open(), commands.Channel.OpenOk, channel=channel)

    # What the owner calls

    @property
    def is_closed(self) -> bool:
        """Whether it is gone."""
        return self.closed.done()

    async def close(self) -> None:
        """Close in good order, within a bound."""
        self.is_ending = True
        try:
            await self._before_close()
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.ask(
                    commands.Connection.Close(reply_code=200, reply_text="bye", class_id=0, method_id=0),
                    commands.Connection.CloseOk,
                    channel=0,
                )
        except (TimeoutError, RelayError) as error:
            _log.debug("unclean close", extra={"action": "raw_connection_close", "reason": str(error)})
        finally:  # also if it takes the caller too long
            self.abort("closed by us")

    async def _before_close(self) -> None:
        """Wait for what a close in good order would cut off; for subclasses."""

    def abort(self, reason: str) -> None:
        """Drop the connection now."""
        self.is_ending = True
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
        channel: int | None = None,
        silence_s: float | None = None,
    ) -> F:
        """Send `method` and wait for its reply; a refusal closes the connection, as does a broker that is silent.

        Raises BrokerLostError.
        """
        where = self.declare_channel if channel is None else channel
        reply = await self._converse(method, where, METHOD_TIMEOUT_S if silence_s is None else silence_s)
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
                await self.open_channel(channel)
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
            raise BrokerLostError(f"the connection to RabbitMQ is gone: {self.closed.result()}")
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
        if self._loop.time() - self._received_at > 2 * self.heartbeat_s:
            self.abort(f"RabbitMQ was silent for {2 * self.heartbeat_s} s")
            return
        self.write(frame.marshal(heartbeat.Heartbeat(), 0))
        self._beat_timer = self._loop.call_later(self.heartbeat_s / 2, self._beat)

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

    def data_received(self, data: bytes) -> None:
        """Frames from the broker, whole or in pieces."""
        self._received_at = self._loop.time()
        buffer = self._buffer
        buffer += data
        start, end = 0, len(buffer)
        while end - start >= FRAME_HEAD.size and not self.closed.done():
            frame_type, channel, size = FRAME_HEAD.unpack_from(buffer, start)
            if frame_type not in _FRAME_TYPES:
                self.abort("what answers at that port does not speak AMQP 0-9-1")
                return
            if end - start < size + 8:
                break
            if not self._is_hot(frame_type, channel, start, size):
                self._on_frame(bytes(buffer[start : start + size + 8]))
            start += size + 8
        del buffer[:start]

    def _is_hot(self, frame_type: int, channel: int, start: int, size: int, /) -> bool:  # noqa: ARG002 - for subclasses
        """Take the frame of `size` at `start` of the buffer straight, if it is of the hot path."""
        return False

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
            self._on_unblocked()
        elif isinstance(content, base.Frame) and not self._is_news(content, channel):
            self._on_answer(content, channel)

    def _is_news(self, content: base.Frame, channel: int, /) -> bool:  # noqa: ARG002 - for subclasses
        """Take what the broker says without having been asked."""
        return False

    def _on_answer(self, content: base.Frame, channel: int) -> None:
        if self._unclaimed_counts[channel] > 0:
            self._unclaimed_counts[channel] -= 1
        elif (reply := self._reply_due(channel)) is not None:
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

    def _on_unblocked(self) -> None:
        """The alarm is over."""
