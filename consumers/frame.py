"""Reads a delivery: the gateway frame in its body and what its properties say about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from consumers.dispatch import Dispatch
from consumers.errors import MalformedDispatchError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DISPATCH_OPCODE = 0


@dataclass(frozen=True, slots=True)
class Frame:
    """A dispatch and its payload, the frame's `d`."""

    dispatch: Dispatch
    payload: Any


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
    )
    return Frame(dispatch, content.get("d"))


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


def _instant(headers: Mapping[str, Any]) -> float:
    value = headers.get("received_at")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise MalformedDispatchError("the header received_at must be seconds since the epoch")
    return float(value)
