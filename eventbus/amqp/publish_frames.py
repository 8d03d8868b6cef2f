"""The bytes of a publish: prepared once for a shard and an event type, filled in for each dispatch.

AMQP 0-9-1, sections 2.3.5 and 4.2. A general client spends most of a publish's CPU on marshalling properties and on
a future; what does not change from one dispatch to the next is marshalled here once.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from pamqp import commands, encode, frame

if TYPE_CHECKING:
    from collections.abc import Mapping

BULK_CHANNEL = 1
DECLARE_CHANNEL = 2
URGENT_CHANNEL = 3
"""A publishing channel of its own for what must not stand behind a queue that is slow (docs/decisions/0015)."""

_FRAME_HEADER = struct.Struct(">BHI")
_CONTENT_HEADER = struct.Struct(">HHQH")
_BASIC_CLASS = 60
_FRAME_END = b"\xce"
# content_type, headers, delivery_mode, message_id, type
_FLAGS = 1 << 15 | 1 << 13 | 1 << 12 | 1 << 7 | 1 << 5
_CONTENT_TYPE = b"\x10application/json"
_PERSISTENT = b"\x02"
_REPLAYED_KEY = b"\x08replayedt"
_REPLAYED = (_REPLAYED_KEY + b"\x00", _REPLAYED_KEY + b"\x01")
_RECEIVED_AT_KEY = b"\x0breceived_at"
_BODY_OVERHEAD = 8
_EXCHANGE_AT = _FRAME_HEADER.size + 6  # behind class, method and a reserved short


def as_replayed(publish: bytes) -> bytes:
    """A rendered publish with the header `replayed` set: it is published again."""
    flag = publish.index(_REPLAYED_KEY) + len(_REPLAYED_KEY)  # the first one: the body stands behind the headers
    return publish[:flag] + b"\x01" + publish[flag + 1 :]


def exchange_of(publish: bytes) -> str:
    """The exchange that a rendered publish goes to."""
    return publish[_EXCHANGE_AT + 1 : _EXCHANGE_AT + 1 + publish[_EXCHANGE_AT]].decode()


def body_size(publish: bytes) -> int:
    """Bytes of the body of a rendered publish."""
    _, _, method_size = _FRAME_HEADER.unpack_from(publish)
    content_header_at = 2 * _FRAME_HEADER.size + method_size + len(_FRAME_END)
    return int(_CONTENT_HEADER.unpack_from(publish, content_header_at)[2])


class PublishTemplate:
    """The frames of Basic.Publish for one channel, exchange, routing key, `type` and set of fixed headers."""

    __slots__ = ("_after_id", "_before_table", "_body_limit", "_method", "_table", "channel")

    def __init__(
        self,
        *,
        exchange: str,
        routing_key: str,
        event_type: str,
        headers: Mapping[str, int | str],
        frame_max: int,
        channel: int = BULK_CHANNEL,
    ) -> None:
        self.channel = channel
        publish = commands.Basic.Publish(exchange=exchange, routing_key=routing_key)
        self._method = frame.marshal(publish, channel)
        self._table = encode.field_table(dict(headers))[4:]
        table_size = len(self._table) + len(_REPLAYED[0]) + len(_RECEIVED_AT_KEY) + 9
        self._before_table = _CONTENT_TYPE + table_size.to_bytes(4, "big") + self._table
        self._after_id = encode.short_string(event_type) + _FRAME_END
        self._body_limit = frame_max - _BODY_OVERHEAD

    def render(self, body: bytes, message_id: bytes, *, replayed: bool, received_at: float) -> bytes:
        """All frames of one publish; `message_id` at most 255 bytes, `received_at` in seconds since the epoch."""
        properties = b"".join(
            (
                self._before_table,
                _REPLAYED[replayed],
                _RECEIVED_AT_KEY,
                struct.pack(">cd", b"d", received_at),
                _PERSISTENT,
                len(message_id).to_bytes(1, "big"),
                message_id,
                self._after_id,
            )
        )
        size = len(body)
        content_header = _CONTENT_HEADER.pack(_BASIC_CLASS, 0, size, _FLAGS)
        head = _FRAME_HEADER.pack(2, self.channel, len(content_header) + len(properties) - 1)
        if size <= self._body_limit:
            body_head = _FRAME_HEADER.pack(3, self.channel, size)
            return b"".join((self._method, head, content_header, properties, body_head, body, _FRAME_END))
        return b"".join((self._method, head, content_header, properties, *self._body_frames(body)))

    def _body_frames(self, body: bytes) -> list[bytes]:
        chunks: list[bytes] = []
        for start in range(0, len(body), self._body_limit):
            part = body[start : start + self._body_limit]
            chunks += (_FRAME_HEADER.pack(3, self.channel, len(part)), part, _FRAME_END)
        return chunks
