"""The broker's side of a publishing connection: AMQP 0-9-1 in bytes, as far as `PublishConnection` speaks it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pamqp import base, body, commands, frame, header, heartbeat

from eventbus.amqp.publish_frames import BULK_CHANNEL, URGENT_CHANNEL
from tests.lease_protocol.memory_broker import Letter, RefusedError, Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.lease_protocol.memory_broker import MemoryBroker
    from tests.lease_protocol.wire import Wire

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"


class WireTransport(asyncio.Transport):
    """What the protocol writes to; also the client's end of the wire."""

    def __init__(self, wire: Wire, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.wire = wire
        self._protocol = protocol

    def write(self, data: Any) -> None:
        self.wire.to_broker(bytes(data), _label(bytes(data)))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        for data in list_of_data:
            self.write(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def is_closing(self) -> bool:
        return not self.wire.is_open_here

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self.wire.close_here()

    # ClientEnd

    def on_item(self, item: bytes) -> None:
        if self.wire.is_open_here:
            self._protocol.data_received(item)

    def on_beat(self) -> None:
        self.on_item(frame.marshal(heartbeat.Heartbeat(), 0))

    def on_end(self) -> None:
        self.wire.close_here()
        self._protocol.connection_lost(None)


def _label(data: bytes) -> str:
    if data[0] != 1:
        return ""
    content = frame.unmarshal(data)[2]
    return content.name if isinstance(content, base.Frame) else ""


class PublishingServer(Session):
    """Speaks first when spoken to."""

    def __init__(self, broker: MemoryBroker, wire: Wire) -> None:
        super().__init__(broker, wire)
        self._buffer = b""
        self._tags = dict.fromkeys((BULK_CHANNEL, URGENT_CHANNEL), 0)
        self._channel = 0
        self._publish: commands.Basic.Publish | None = None
        self._header: header.ContentHeader | None = None
        self._body = b""

    def on_item(self, item: bytes) -> None:
        self._buffer += item
        if self._buffer.startswith(_PROTOCOL_HEADER):
            self._buffer = self._buffer[len(_PROTOCOL_HEADER) :]
            self._answer(commands.Connection.Start(server_properties={"product": "memory"}), 0)
        while len(self._buffer) >= 8 and self.wire.is_open_there:
            consumed, channel, content = frame.unmarshal(self._buffer)
            self._buffer = self._buffer[consumed:]
            self._on_frame(channel, content)

    def _answer(self, method: base.Frame, channel: int) -> None:
        self.wire.to_client(frame.marshal(method, channel), method.name)

    def _on_frame(self, channel: int, content: Any) -> None:
        if isinstance(content, heartbeat.Heartbeat):
            return
        if isinstance(content, header.ContentHeader):
            self._header, self._body = content, b""
        elif isinstance(content, body.ContentBody):
            self._body += content.value
        elif isinstance(content, commands.Basic.Publish):
            self._channel, self._publish = channel, content
        else:
            self._on_method(channel, content)
        if self._header is not None and len(self._body) >= self._header.body_size:
            self._on_publish()

    def _on_method(self, channel: int, method: base.Frame) -> None:
        try:
            reply = self._carry_out(method)
        except RefusedError as error:
            reply = commands.Channel.Close(error.code, error.text, 0, 0)
        if reply is not None:
            self._answer(reply, channel)
        if isinstance(method, commands.Connection.Close):
            self.wire.close_there()

    def _carry_out(self, method: base.Frame) -> base.Frame | None:
        broker = self.broker
        match method:
            case commands.Connection.StartOk():
                return commands.Connection.Tune(2047, 131072, 60)
            case commands.Connection.TuneOk() | commands.Channel.CloseOk():
                return None
            case commands.Queue.Declare():
                name = broker.declare_queue(
                    self,
                    method.queue,
                    exclusive=method.exclusive,
                    passive=method.passive,
                    arguments=dict(method.arguments or {}),
                )
                return commands.Queue.DeclareOk(name, 0, 0)
            case commands.Exchange.Declare():
                broker.declare_exchange(method.exchange, method.exchange_type, passive=method.passive)
            case commands.Queue.Bind():
                broker.bind(method.queue, method.exchange, method.routing_key)
            case commands.Queue.Unbind():
                broker.unbind(method.queue, method.exchange, method.routing_key)
        return _OK[type(method)]()

    def _on_publish(self) -> None:
        publish, content = self._publish, self._header
        assert publish is not None
        assert content is not None
        self._publish = self._header = None
        properties = content.properties
        letter = Letter(
            self._body,
            headers=dict(properties.headers or {}),
            message_id=properties.message_id,
            type=properties.message_type,
        )
        try:
            is_routed = self.broker.publish(self, publish.exchange, publish.routing_key, letter)
        except RefusedError as error:
            self._answer(commands.Channel.Close(error.code, error.text, 60, 40), self._channel)
            return
        if publish.mandatory and not is_routed:
            self._return(publish, content)
        if self._channel in self._tags:
            self._tags[self._channel] += 1
            self._confirm(self._channel, self._tags[self._channel])

    def _return(self, publish: commands.Basic.Publish, content: header.ContentHeader) -> None:
        method = commands.Basic.Return(312, "NO_ROUTE", publish.exchange, publish.routing_key)
        data = frame.marshal(method, self._channel) + frame.marshal(content, self._channel)
        if self._body:
            data += frame.marshal(body.ContentBody(self._body), self._channel)
        self.wire.to_client(data, "Basic.Return")

    def _confirm(self, channel: int, tag: int) -> None:
        world = self.broker.world
        delay_s = self.broker.confirm_delay_s * world.random.random()
        if delay_s:
            world.at(world.now + delay_s, lambda: self._answer(commands.Basic.Ack(tag), channel))
        else:
            self._answer(commands.Basic.Ack(tag), channel)


_OK: dict[type, Any] = {
    commands.Connection.Open: commands.Connection.OpenOk,
    commands.Connection.Close: commands.Connection.CloseOk,
    commands.Channel.Open: commands.Channel.OpenOk,
    commands.Confirm.Select: commands.Confirm.SelectOk,
    commands.Exchange.Declare: commands.Exchange.DeclareOk,
    commands.Queue.Bind: commands.Queue.BindOk,
    commands.Queue.Unbind: commands.Queue.UnbindOk,
}
