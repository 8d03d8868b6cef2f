"""A message whose float headers keep their precision.

pamqp writes a Python float as AMQP's `f` (single precision), which is minutes off for a time. Here it is `d` (double).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aio_pika import Message
from pamqp import encode
from pamqp.commands import Basic

if TYPE_CHECKING:
    from collections.abc import Mapping


class ExactMessage(Message):
    """As aio_pika.Message; floats at the top of `headers` are sent as doubles."""

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
    fields = b"".join(encode.short_string(name) + _field_value(value) for name, value in sorted(table.items()))
    return len(fields).to_bytes(4, "big") + fields


def _field_value(value: Any) -> bytes:  # noqa: ANN401 - any AMQP value
    return b"d" + encode.double(value) if isinstance(value, float) else encode.encode_table_value(value)
