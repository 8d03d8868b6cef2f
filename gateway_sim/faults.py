"""The faults that can be asked for, and what each request must look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway_sim.envelope import KEYS
from gateway_sim.json_value import Json

_HOST_MODES = ("ok", "refuse", "hang", "503")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault to apply; `shard` and `session` None stand for all."""

    kind: str
    shard: int | None
    session: str | None
    options: Mapping[str, Any]


def parse_fault(body: Mapping[str, Any]) -> Fault:
    """Return the fault that a control request asks for; ValueError says what to change."""
    kind = body.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        msg = f"there is no fault {kind!r}: use one of {', '.join(sorted(KINDS))}"
        raise ValueError(msg)
    readers = KINDS[kind]
    given = {key: value for key, value in body.items() if key not in {"kind", "shard", "session"}}
    if unknown := sorted(given.keys() - readers.keys()):
        allowed = ", ".join(sorted(readers)) or "none"
        msg = f"the fault {kind} has no option {', '.join(unknown)}; its options: {allowed}"
        raise ValueError(msg)
    shard, session = body.get("shard"), body.get("session")
    if shard is not None and (not isinstance(shard, int) or isinstance(shard, bool)):
        msg = f"shard must be a shard id or null, not {shard!r}"
        raise ValueError(msg)
    if session is not None and not isinstance(session, str):
        msg = f"session must be a session id or null, not {session!r}"
        raise ValueError(msg)
    return Fault(kind, shard, session, {key: read(key, given.get(key)) for key, read in readers.items()})


def _number(default: float | None, low: float, high: float) -> Callable[[str, Json], float]:
    def read(key: str, value: Json) -> float:
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            msg = f"{key} must be a number from {low} to {high}, not {value!r}"
            raise ValueError(msg)
        return value

    return read


def _whole(default: int | None, low: int, high: int) -> Callable[[str, Json], int]:
    def read(key: str, value: Json) -> int:
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            msg = f"{key} must be a whole number from {low} to {high}, not {value!r}"
            raise ValueError(msg)
        return value

    return read


def _flag(default: bool | None) -> Callable[[str, Json], bool | None]:
    def read(key: str, value: Json) -> bool | None:
        if value is not None and not isinstance(value, bool):
            msg = f"{key} must be true or false, not {value!r}"
            raise ValueError(msg)
        return default if value is None else value

    return read


def _text(default: str) -> Callable[[str, Json], str]:
    def read(key: str, value: Json) -> str:
        if value is not None and not isinstance(value, str):
            msg = f"{key} must be text, not {value!r}"
            raise ValueError(msg)
        return default if value is None else value

    return read


def _choice(*values: str) -> Callable[[str, Json], str]:
    def read(key: str, value: Json) -> str:
        if str(value) not in values:
            msg = f"{key} must be one of {', '.join(values)}, not {value!r}"
            raise ValueError(msg)
        return str(value)

    return read


def _key_order(key: str, value: Json) -> object:
    if value in {None, "random"} if not isinstance(value, list) else False:
        return "random"
    if not isinstance(value, list) or sorted(map(str, value)) != sorted(KEYS):
        msg = f"{key} must be 'random' or a permutation of {list(KEYS)}, not {value!r}"
        raise ValueError(msg)
    return value


def _anything(key: str, value: Json) -> Json:
    del key
    return {"new": True} if value is None else value


_SECONDS = _number(None, 0, 86_400)

KINDS: Mapping[str, Mapping[str, Callable[[str, Json], Json]]] = {
    "drop": {},
    "close": {"code": _whole(4000, 1000, 4999), "reason": _text(""), "keep_session": _flag(None)},
    "reconnect": {"before_hello": _flag(default=False), "count": _whole(1, 1, 1_000_000)},
    "invalid_session": {"resumable": _flag(default=False)},
    "withhold_acks": {"seconds": _SECONDS},
    "stall": {"seconds": _SECONDS},
    "resume_host": {"mode": _choice(*_HOST_MODES)},
    "gateway_host": {"mode": _choice(*_HOST_MODES)},
    "envelope": {"order": _key_order},
    "unknown_event": {"type": _text("SOMETHING_NEW"), "data": _anything, "count": _whole(1, 1, 100_000)},
    "duplicate": {"probability": _number(None, 0, 1)},
    "slow_socket": {"bytes_per_s": _number(None, 1, 10**12)},
    "refuse_resume": {"count": _whole(1, 1, 1_000_000)},
    "missing_ready": {"seconds": _SECONDS},
    "heartbeat_request": {},
    "expire_sessions": {},
    "malformed_frame": {"text": _text('{"t":"MESSAGE_CREATE","s":')},
}
"""Every kind of fault with its options."""
