"""A message whose headers are sent as they were received.

pamqp writes a Python float as AMQP's `f` (single precision), which is minutes off for a time; here it is `d` (double).
And it does not write the bytes that it reads from a string which is not UTF-8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aio_pika import Message
from pamqp import encode
from pamqp.commands import Basic

if TYPE_CHECKING:
    from collections.abc import Mapping


class ExactMessage(Message):
    """As aio_pika.Message; all `headers` that can be received can be sent."""

    @property
    def properties(self) -> Basic.Properties:
        """What aio-pika hands to the channel."""
        plain = super().properties
        return _ExactProperties(**{name: getattr(plain, name) for name in plain.__slots__})


class _ExactProperties(Basic.Properties):
    def encode_property(self, name: str, value: Any) -> bytes:  # noqa: ANN401 - any AMQP value
        if name == "headers":
            return _field_table(value)
        return super().encode_property(name, value)


def _field_table(table: Mapping[str, Any]) -> bytes:
    return _long(b"".join(encode.short_string(name) + _field_value(value) for name, value in sorted(table.items())))


def _field_value(value: Any) -> bytes:  # noqa: ANN401 - any AMQP value
    match value:
        case float():
            return b"d" + encode.double(value)
        case bytes():  # what pamqp makes of a string that is not UTF-8, and does not encode
            return b"S" + _long(value)
        case str():
            return b"S" + _long(value.encode(errors="replace"))
        case dict():
            return b"F" + _field_table(value)
        case list():
            return b"A" + _long(b"".join(map(_field_value, value)))
        case _:
            return encode.encode_table_value(value)


def _long(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content
