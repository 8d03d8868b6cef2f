"""What a slice of the stream says of each guild, kept as it came until the guild's turn to be written. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from consumers.cache_fill import GUILD_FILL, FillJudge, frames_of, guild_and_since
from consumers.cache_records import GuildRecord, guild_id_of, pack, payload_of, shard_of_guild, unpack
from consumers.errors import MalformedDispatchError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from consumers.cache_records import Frame

    Bodies = list[tuple[str, bytes]]


class _Change(NamedTuple):
    offset: int
    event_type: str
    body: bytes


class _Identify(NamedTuple):
    """A session began: the shard has these guilds and no others."""

    offset: int
    shard: int
    shard_count: int
    guild_ids: frozenset[int]


class GuildChanges:
    """Dispatches by guild. `own_id` is the bot's user; `heavy` are the heavy parts that are kept."""

    def __init__(self, *, own_id: int, heavy: tuple[str, ...]) -> None:
        self._own_id = own_id
        self._heavy = heavy
        self._changes: dict[int, list[_Change]] = {}
        self._identifies: list[_Identify] = []
        self._judge = FillJudge()

    @property
    def guild_count(self) -> int:
        """How many guilds something was said of."""
        return len(self._changes)

    def guild_ids(self) -> set[int]:
        """The guilds that something was said of."""
        return set(self._changes)

    def note(self, offset: int, event_type: str, headers: Mapping[str, Any], body: bytes) -> None:
        """An entry before the slice: it only says which fills count. Raises MalformedDispatchError."""
        if event_type == GUILD_FILL:
            self._judge.said(offset, guild_and_since(headers)[0])
        elif body:
            self._judge.hear(offset, event_type, headers, payload_of(body))

    def take(self, offset: int, event_type: str, headers: Mapping[str, Any], body: bytes) -> None:
        """An entry of the stream, in order. Raises MalformedDispatchError for one that says nothing."""
        if event_type == GUILD_FILL:
            self._take_fill(offset, headers, body)
            return
        payload = payload_of(body) if body else {}
        self._judge.hear(offset, event_type, headers, payload)
        if event_type == "READY":
            self._identifies.append(_identify(offset, headers, payload))
            return
        guild_id = guild_id_of(event_type, payload)
        if guild_id is not None:
            self._changes.setdefault(guild_id, []).append(_Change(offset, event_type, body))

    def _take_fill(self, offset: int, headers: Mapping[str, Any], body: bytes) -> None:
        guild_id, since = guild_and_since(headers)
        if self._judge.counts(offset, guild_id, since):
            self._changes.setdefault(guild_id, []).append(_Change(offset, GUILD_FILL, body))

    def is_untouched(self, guild_id: int) -> bool:
        """Whether the guild is what it was."""
        return guild_id not in self._changes and self._removed_at(guild_id) < 0

    def _removed_at(self, guild_id: int) -> int:
        """The offset of the last identify after which the guild was not there; -1 if there is none."""
        return max((one.offset for one in self._identifies if _lacks(one, guild_id)), default=-1)

    def applied(self, guild_id: int, bodies: Bodies) -> Bodies:
        """The frames of the guild now, from those that it had; none if it is gone or was never seen whole."""
        removed_at = self._removed_at(guild_id)
        record = _record(bodies, self._own_id) if removed_at < 0 else None
        for change in self._changes.get(guild_id, ()):
            if change.offset > removed_at:
                record = self._changed(record, change)
        if record is None:
            return []
        return [(event_type, pack(payload)) for event_type, payload in record.frames(heavy=self._heavy)]

    def _changed(self, record: GuildRecord | None, change: _Change) -> GuildRecord | None:
        if change.event_type != GUILD_FILL:
            return apply(record, change.event_type, payload_of(change.body), own_id=self._own_id)
        if not change.body:
            return None
        return record or _made_of(frames_of(change.body), self._own_id)


def apply(record: GuildRecord | None, event_type: str, payload: dict[str, Any], *, own_id: int) -> GuildRecord | None:
    """What a dispatch makes of a guild; None is one that is not there. What cannot be read changes nothing."""
    try:
        if event_type == "GUILD_CREATE":
            return record if payload.get("unavailable") else GuildRecord(payload)
        if event_type == "GUILD_DELETE" and not payload.get("unavailable"):
            return None
        if record is not None:
            record.apply(event_type, payload, own_id=own_id)
    except (KeyError, TypeError, AttributeError):
        return record
    return record


def _record(bodies: Bodies, own_id: int) -> GuildRecord | None:
    return _made_of(((event_type, unpack(body)) for event_type, body in bodies), own_id)


def _made_of(frames: Iterable[Frame], own_id: int) -> GuildRecord | None:
    record = None
    for event_type, payload in frames:
        record = apply(record, event_type, payload, own_id=own_id)
    return record


def guilds_of_ready(payload: Mapping[str, Any]) -> frozenset[int]:
    """The guilds that a READY names. Raises MalformedDispatchError."""
    try:
        return frozenset(int(guild["id"]) for guild in payload["guilds"])
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedDispatchError(f"a READY without guilds: {error!r}") from None


def _identify(offset: int, headers: Mapping[str, Any], payload: Mapping[str, Any]) -> _Identify:
    shard, shard_count = headers.get("shard"), headers.get("shard_count")
    if not isinstance(shard, int) or not isinstance(shard_count, int) or shard_count < 1:
        raise MalformedDispatchError("a READY without the headers shard and shard_count")
    return _Identify(offset, shard, shard_count, guilds_of_ready(payload))


def _lacks(identify: _Identify, guild_id: int) -> bool:
    return shard_of_guild(guild_id, identify.shard_count) == identify.shard and guild_id not in identify.guild_ids
