"""Reads op, t and s from the head of a gateway frame without parsing the rest.

The order of a frame's keys is not promised: whatever does not match today's order at byte 0 is parsed in full. The text
is never searched, because user content can hold anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeGuard

import orjson

_HEAD = re.compile(rb'\{"t":(?:null|"([A-Z0-9_]{1,64})"),"s":(?:null|(\d{1,18})),"op":(\d{1,3}),"d":', re.ASCII)


class MalformedFrameError(ValueError):
    """A frame is not a gateway payload."""


@dataclass(frozen=True, slots=True)
class FrameHead:
    """`type` and `seq` are None unless `op` is 0."""

    op: int
    type: str | None
    seq: int | None
    was_parsed: bool = False


def peek(frame: bytes) -> FrameHead:
    """The head of `frame`. Raises MalformedFrameError."""
    match = _HEAD.match(frame)
    if match is None:
        return _parse(frame)
    event_type, seq, op = match.groups()
    return FrameHead(
        int(op), event_type.decode() if event_type is not None else None, int(seq) if seq is not None else None
    )


def _parse(frame: bytes) -> FrameHead:
    try:
        payload = orjson.loads(frame)
    except orjson.JSONDecodeError as error:
        raise MalformedFrameError(f"a frame of {len(frame)} bytes is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise MalformedFrameError("a frame is not a JSON object")
    op, event_type, seq = payload.get("op"), payload.get("t"), payload.get("s")
    if not _is_int(op) or not (seq is None or _is_int(seq)) or not isinstance(event_type, str | None):
        raise MalformedFrameError("a frame has no valid op, t and s")
    return FrameHead(op, event_type, seq, was_parsed=True)


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
