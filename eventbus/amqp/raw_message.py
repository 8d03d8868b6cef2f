"""A message as it came over a connection of our own; headers are decoded when they are asked for.

AMQP 0-9-1, section 4.2.6.1: a content header has a bit for each property that is there, then the properties in that
order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pamqp import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTENT_HEAD: Final = 14  # class, weight, body size, flags
_SHORT, _TABLE, _OCTET, _TIME = range(4)
_PROPERTIES: Final = (
    (15, "content_type", _SHORT),
    (14, "content_encoding", _SHORT),
    (13, "headers", _TABLE),
    (12, "delivery_mode", _OCTET),
    (11, "priority", _OCTET),
    (10, "correlation_id", _SHORT),
    (9, "reply_to", _SHORT),
    (8, "expiration", _SHORT),
    (7, "message_id", _SHORT),
    (6, "timestamp", _TIME),
    (5, "type", _SHORT),
    (4, "user_id", _SHORT),
    (3, "app_id", _SHORT),
    (2, "cluster_id", _SHORT),
)
_KEPT: Final = frozenset({"content_type", "correlation_id", "reply_to", "message_id", "type"})


class RawMessage:
    """Properties and body; `redelivered` is the broker's word."""

    __slots__ = (
        "_headers",
        "_table",
        "body",
        "content_type",
        "correlation_id",
        "message_id",
        "redelivered",
        "reply_to",
        "type",
    )

    def __init__(self, content_header: bytes, body: bytes, *, redelivered: bool) -> None:
        self.body = body
        self.redelivered = redelivered
        self._headers: Mapping[str, Any] | None = None
        self._table = b""
        self.content_type: str | None = None
        self.correlation_id: str | None = None
        self.message_id: str | None = None
        self.reply_to: str | None = None
        self.type: str | None = None
        flags = content_header[12] << 8 | content_header[13]
        at = _CONTENT_HEAD
        for bit, name, kind in _PROPERTIES:
            if not flags & 1 << bit:
                continue
            if kind == _SHORT:
                end = at + 1 + content_header[at]
                if name in _KEPT:
                    setattr(self, name, content_header[at + 1 : end].decode(errors="replace"))
            elif kind == _TABLE:
                end = at + 4 + int.from_bytes(content_header[at : at + 4], "big")
                self._table = content_header[at:end]
            else:
                end = at + (1 if kind == _OCTET else 8)
            at = end

    @property
    def headers(self) -> Mapping[str, Any]:
        """Headers, as the publisher and the broker set them. Raises ValueError or struct.error if they are no AMQP."""
        if self._headers is None:
            self._headers = decode.field_table(self._table)[1] if self._table else {}
        return self._headers
