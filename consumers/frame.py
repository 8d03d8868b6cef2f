"""Reads a delivery: the gateway frame in its body and what its properties say about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from consumers.dispatch import Dispatch
from consumers.errors import MalformedDispatchError
from eventbus.names import INTERACTION_CREATE

if TYPE_CHECKING:
    from collections.abc import Mapping

_DISPATCH_OPCODE = 0
_DISCORD_EPOCH = 1_420_070_400.0
"""https://discord.com/developers/docs/reference#snowflakes"""

T = TypeVar("T", int, None)


@dataclass(frozen=True, slots=True)
class Frame:
    """A dispatch and its payload, the frame's `d`.

    `sent_again`: how often an operator sent it again from the dead letters. `unsettled_before`: how often it was
    delivered and never settled before it came to the quarantine lane.
    """

    dispatch: Dispatch
    payload: Any
    sent_again: int = 0
    unsettled_before: int = 0

    @property
    def interaction_made_at(self) -> float | None:
        """When an interaction was made, in seconds since the epoch: by its id, else by its receipt; else None."""
        if self.dispatch.type != INTERACTION_CREATE:
            return None
        number = self.payload.get("id") if isinstance(self.payload, dict) else None
        if not isinstance(number, str) or not number.isascii() or not number.isdecimal():
            return self.dispatch.received_at
        return (int(number) >> 22) / 1000 + _DISCORD_EPOCH

    def interaction_age_s(self, now: float) -> float | None:
        """Seconds since an interaction was made; None for all else. `now` is in seconds since the epoch."""
        made_at = self.interaction_made_at
        return None if made_at is None else now - made_at


def decode(
    body: bytes, *, event_type: str | None, message_id: str | None, headers: Mapping[str, Any], redelivered: bool
) -> Frame:
    """The frame in `body`. Raises MalformedDispatchError, which says what is wrong with it."""
    content = _object(body)
    name = content.get("t")
    if content.get("op") != _DISPATCH_OPCODE or not isinstance(name, str):
        raise MalformedDispatchError("the frame is no dispatch: op must be 0 and t a text")
    if event_type is not None and event_type != name:
        raise MalformedDispatchError(f"the frame says {name[:64]!r}, the message's type {event_type[:64]!r}")
    session_id, seq = _position(message_id)
    dispatch = Dispatch(
        shard=_integer(headers, "shard"),
        shard_count=_integer(headers, "shard_count"),
        session_id=session_id,
        seq=seq,
        type=name,
        message_id=message_id or "",
        fencing_token=_integer(headers, "fencing_token"),
        replayed=headers.get("replayed") is True,
        redelivered=redelivered,
        received_at=_instant(headers),
        attempt=_optional(headers, "failed_attempts", 0) + 1,
        resumed_from=_optional(headers, "resumed_from", None),
    )
    return Frame(
        dispatch,
        content.get("d"),
        sent_again=_optional(headers, "retried", 0),
        unsettled_before=_optional(headers, "unsettled_deliveries", 0),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedDispatchError(f"the body is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise MalformedDispatchError("the body is not a JSON object")
    return content


def _position(message_id: str | None) -> tuple[str, int]:
    session_id, _, seq = (message_id or "").rpartition(":")
    if not session_id or not seq.isascii() or not seq.isdecimal():
        raise MalformedDispatchError("message_id must be session_id:seq")
    return session_id, int(seq)


def _integer(headers: Mapping[str, Any], name: str) -> int:
    value = headers.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise MalformedDispatchError(f"the header {name} must be an integer of 0 or more")
    return value


def _optional(headers: Mapping[str, Any], name: str, default: T) -> int | T:
    return _integer(headers, name) if name in headers else default


def _instant(headers: Mapping[str, Any]) -> float:
    value = headers.get("received_at")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise MalformedDispatchError("the header received_at must be seconds since the epoch")
    return float(value)
