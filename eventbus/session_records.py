"""Reads records of the session stream, of which one bad part costs nothing but itself. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from pydantic import ValidationError

from eventbus import messages

if TYPE_CHECKING:
    from eventbus.messages import SessionRecord

# What follows when a record of this kind is refused; any other kind is a reader's own and is skipped.
CONSEQUENCES = {
    "checkpoints": "its shards resume from an older checkpoint, or identify",
    "grants": "an older lease of its shards may be confirmed again until the newer one is reported",
    "permit": "an identify of its bucket may come too early",
    "leading": "what its coordinator writes is not believed",
    "marker": "nothing: its reader knows it by its message_id",
}
_UNREADABLE = "nothing is known of its shards: they resume from an older checkpoint, or identify"


class Refusal(NamedTuple):
    """A record, or a part of one, that was not believed: `key` is equal for what is alike; the rest is for people."""

    key: str
    reason: str
    consequence: str


class Reading(NamedTuple):
    """What a body said (None: nothing for us) and what of it was refused."""

    record: SessionRecord | None
    refusals: tuple[Refusal, ...] = ()


def read_record(body: bytes) -> Reading:
    """Read one body. An unknown kind is neither a record nor a refusal; anything else that is wrong is a refusal."""
    try:
        return Reading(messages.decode(messages.session_record, body))
    except messages.MalformedMessageError as error:
        raw = _as_object(body)
        if raw is None:
            return Reading(None, (Refusal("unreadable", str(error), _UNREADABLE),))
        return _read_parts(raw, str(error))


def _as_object(body: bytes) -> dict[str, Any] | None:
    try:
        raw = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return raw if isinstance(raw, dict) else None


def _read_parts(raw: dict[str, Any], reason: str) -> Reading:
    kind = raw.get("kind")
    if not isinstance(kind, str):
        return Reading(None, (Refusal("unreadable", reason, _UNREADABLE),))
    if kind not in CONSEQUENCES:
        return Reading(None)
    parts = raw.get("checkpoints")
    if raw.get("v") != messages.VERSION or kind != "checkpoints" or not isinstance(parts, list):
        return Reading(None, (Refusal(kind, reason, CONSEQUENCES[kind]),))
    return _read_checkpoints(raw, parts, reason)


def _read_checkpoints(raw: dict[str, Any], parts: list[Any], reason: str) -> Reading:
    good, refusals = [], []
    for part in parts:
        try:
            good.append(messages.Checkpoint.model_validate(part))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(step) for step in first["loc"]) or "checkpoint"
            refusals.append(refused_checkpoint(_shard_of(part), f"{where}: {first['msg']}"))
    try:
        record = messages.Checkpoints.model_validate({**raw, "checkpoints": tuple(good)})
    except ValidationError:  # not the parts alone
        return Reading(None, (Refusal("checkpoints", reason, CONSEQUENCES["checkpoints"]),))
    return Reading(record if good else None, tuple(refusals))


def _shard_of(part: object) -> object:
    return part.get("shard", "?") if isinstance(part, dict) else "?"


def refused_checkpoint(shard: object, reason: str) -> Refusal:
    """One shard's checkpoint that is not believed."""
    # A shard's text is a stranger's: cut, so that it can fill neither the log nor our memory.
    where = str(shard)[:12]
    return Refusal(f"checkpoints/{where}", f"shard {where}: {reason}", CONSEQUENCES["checkpoints"])
