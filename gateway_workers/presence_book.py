"""The presence of every shard, as the presence stream says it: for each field the newest record counts. Pure.

A record's age is its offset in the stream; a copy (`as_of`) is as old as what it copies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eventbus.gateway_payloads import check_presence_fields
from eventbus.messages import PresenceRecord

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

USUAL: Final[dict[str, Any]] = {"since": None, "activities": [], "status": "online", "afk": False}
"""What Discord shows of a shard whose presence nobody set."""


class _Field(NamedTuple):
    offset: int
    written_at: int
    value: Any


_Fields = dict[str, _Field]


class PresenceBook:
    """`take()` each record in the order of the stream; `wanted()` is what Discord should show."""

    def __init__(self) -> None:
        self._all: _Fields = {}
        self._by_shard: dict[int, _Fields] = {}
        self._first: _Field | None = None
        self._wanted: dict[int, dict[str, Any] | None] = {}

    def take(self, record: PresenceRecord, offset: int, *, written_at: int = 0) -> None:
        """Take the record at `offset`; `written_at` is how many bytes of records stand before it.

        Raises InvalidPayloadError for what Discord would refuse: then nothing changes.
        """
        check_presence_fields(record.d)
        age = offset if record.as_of is None else record.as_of
        if record.is_first and not self._is_new_first(record.d, age, written_at):
            return
        fields = {name: _Field(age, written_at, value) for name, value in record.d.items()}
        if record.shards is None:
            _merge(self._all, fields)
            self._wanted.clear()
            return
        for shard in record.shards:
            _merge(self._by_shard.setdefault(shard, {}), fields)
            self._wanted.pop(shard, None)

    def _is_new_first(self, d: dict[str, Any], age: int, written_at: int) -> bool:
        known = self._first
        if known is not None and known.offset > age:
            return False
        self._first = _Field(age, written_at, d)
        if known is None or known.value != d:
            return True
        self._outlive(d, age, known.written_at)
        return False

    def _outlive(self, names: Iterable[str], age: int, written_at: int) -> None:
        """A first presence, stored again, changed nothing: what rules is as old as it, and as far behind as the first.

        Who finds only the later one in the stream takes it for new, until copies that are as old say what rules.
        """
        for name in names:
            ruling = self._all.get(name)
            for fields in self._by_shard.values():
                own = fields.get(name)
                if own is not None and own.offset < age and (ruling is None or own.offset >= ruling.offset):
                    fields[name] = own._replace(offset=age, written_at=min(own.written_at, written_at))
            if ruling is not None and ruling.offset < age:
                self._all[name] = ruling._replace(offset=age, written_at=min(ruling.written_at, written_at))

    def clear(self) -> None:
        """Forget everything: the stream was deleted."""
        self._all.clear()
        self._by_shard.clear()
        self._wanted.clear()
        self._first = None

    def wanted(self, shard: int) -> dict[str, Any] | None:
        """`d` of op 3 for a shard, None if nobody set any; the same object until it changes."""
        if shard not in self._wanted:
            self._wanted[shard] = self._merged(shard)
        return self._wanted[shard]

    def _merged(self, shard: int) -> dict[str, Any] | None:
        fields = dict(self._all)
        _merge(fields, self._by_shard.get(shard, {}))
        if not fields:
            return None
        return USUAL | {name: field.value for name, field in fields.items()}

    def fading(self, shards: Iterable[int], before: int) -> list[PresenceRecord]:
        """Copies of what was written before `before` bytes, of these shards, and of all if shard 0 is among them."""
        held = sorted(shards)
        copies = [copy for shard in held for copy in _copies(self._by_shard.get(shard, {}), before, (shard,))]
        if 0 not in held:
            return copies
        first = self._first
        if first is None or first.written_at >= before:
            return copies + _copies(self._all, before, None)
        copies.append(PresenceRecord(d=first.value, is_first=True, as_of=first.offset))
        return copies + _copies(self._all, before, None, also=first.value)


def _copies(
    fields: _Fields, before: int, shards: tuple[int, ...] | None, *, also: Container[str] = ()
) -> list[PresenceRecord]:
    """One for each offset: a field must not look newer than it is. `also` these fields, wherever they stand."""
    by_offset: dict[int, dict[str, Any]] = {}
    for name, field in fields.items():
        if field.written_at < before or name in also:
            by_offset.setdefault(field.offset, {})[name] = field.value
    return [PresenceRecord(shards=shards, d=d, as_of=offset) for offset, d in by_offset.items()]


def _merge(into: _Fields, fields: _Fields) -> None:
    for name, field in fields.items():
        if name not in into or field.offset >= into[name].offset:
            into[name] = field
