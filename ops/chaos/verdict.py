"""Compares the simulator's ledger with what handlers wrote down, as both grow: lost, doubled, reordered, stale. Pure.

The ledger is the judge. Memory per dispatch is about ten bytes, so that an hour's soak can be kept.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

HANDSHAKES = frozenset({"READY", "RESUMED"})
LANE_TYPES = frozenset({"INTERACTION_CREATE"})
"""They have a queue of their own, so they have an order of their own."""

DISCORDS_WILL = (
    "op 9 false by a fault",
    "expired by a fault",
    "resume refused by a fault",
    "closed by the gateway with 4003",
    "closed by the gateway with 4007",
    "closed by the gateway with 4009",
)
"""`end_reason` of sessions that a fault ended. All others (nobody resumed in time, closed with 1000) are our doing."""

_NOT_SENT, _SENT, _SENT_IN_LANE = 0, 1, 2
_MANY = 255


@dataclass(frozen=True, slots=True)
class SentDispatch:
    """A row of the ledger; `at` is when Discord sent it first."""

    session_id: str
    shard: int
    seq: int
    type: str
    at: float


@dataclass(frozen=True, slots=True)
class HandledDispatch:
    """A line of a handler's record."""

    session_id: str
    seq: int
    at: float
    shard: int
    fencing_token: int
    replayed: bool
    redelivered: bool
    misnamed: bool = False
    """The body is not the dispatch that the id names."""


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that a fault ended: beyond `kept_seq`, what was not handled will never be sent again by Discord."""

    session_id: str
    kept_seq: int


class Watcher(Protocol):
    """Told of each dispatch (READY and RESUMED left out) as it is compared."""

    def on_sent(self, row: SentDispatch) -> None:
        """A row of the ledger."""

    def on_handled(self, record: HandledDispatch, *, sent_at: float, is_first: bool) -> None:
        """A line of a handler's record; `is_first` unless it was handled before."""


class _Session:
    """What was sent and handled of one session, by seq."""

    __slots__ = ("handled", "number", "sent", "sent_at", "shard", "unhandled")

    def __init__(self, number: int, shard: int) -> None:
        self.number = number
        self.shard = shard
        self.sent = bytearray()
        self.handled = bytearray()
        self.sent_at = array("d")
        self.unhandled: set[int] = set()

    def reach(self, seq: int) -> None:
        missing = seq + 1 - len(self.sent)
        if missing > 0:
            self.sent.extend(bytes(missing))
            self.handled.extend(bytes(missing))
            self.sent_at.extend([0.0] * missing)


@dataclass
class Comparison:
    """One consumer group's record against the ledger. Rows and records may come in any interleaving.

    `duplicates` counts second handlings by cause; `reordered` and `stale` make sense for a group of one process that
    is never killed. `misnamed_count`: records of another shard or body than the ledger's. What `is_exempt(message_id)`
    names is nobody's to handle, and left out.
    """

    sent_count: int = 0
    handled_count: int = 0
    misnamed_count: int = 0
    reordered_count: int = 0
    stale_count: int = 0
    duplicates: Counter[str] = field(default_factory=Counter)
    latencies_ms: array[float] = field(default_factory=lambda: array("f"))
    reordered_examples: list[str] = field(default_factory=list)
    watcher: Watcher | None = None
    is_exempt: Callable[[str], bool] | None = None
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _newest: dict[tuple[int, bool], tuple[int, int]] = field(default_factory=dict)
    _tokens: dict[tuple[int, bool], int] = field(default_factory=dict)
    _early: list[HandledDispatch] = field(default_factory=list)

    def add_sent(self, rows: Iterable[SentDispatch]) -> None:
        """Take rows of the ledger, in its order."""
        for row in rows:
            session = self._sessions.get(row.session_id)
            if session is None:
                session = self._sessions[row.session_id] = _Session(len(self._sessions), row.shard)
            session.reach(row.seq)
            if row.type in HANDSHAKES or (self.is_exempt and self.is_exempt(f"{row.session_id}:{row.seq}")):
                continue
            if self.watcher is not None:
                self.watcher.on_sent(row)
            self.sent_count += 1
            session.sent[row.seq] = _SENT_IN_LANE if row.type in LANE_TYPES else _SENT
            session.sent_at[row.seq] = row.at
            session.unhandled.add(row.seq)

    def add_handled(self, records: Iterable[HandledDispatch]) -> None:
        """Take records in the order of handling, those included that the ledger does not know yet."""
        waiting, self._early = [*self._early, *records], []
        for record in waiting:
            session = self._sessions.get(record.session_id)
            if session is None or record.seq >= len(session.sent):
                self._early.append(record)
            else:
                self._handle(session, record)

    def _handle(self, session: _Session, record: HandledDispatch) -> None:
        kind = session.sent[record.seq]
        self.misnamed_count += record.misnamed or record.shard != session.shard
        if kind == _NOT_SENT:
            return  # READY, RESUMED, or exempt
        if self.watcher is not None:
            is_first = not session.handled[record.seq]
            self.watcher.on_handled(record, sent_at=session.sent_at[record.seq], is_first=is_first)
        is_in_lane = kind == _SENT_IN_LANE
        self._check_token(record, is_in_lane=is_in_lane)
        if session.handled[record.seq]:
            self.duplicates[_cause(record)] += 1
        else:
            self.handled_count += 1
            self.latencies_ms.append((record.at - session.sent_at[record.seq]) * 1000)
            self._check_order(session, record, is_in_lane=is_in_lane)
        session.handled[record.seq] = min(_MANY, session.handled[record.seq] + 1)
        session.unhandled.discard(record.seq)

    def _check_order(self, session: _Session, record: HandledDispatch, *, is_in_lane: bool) -> None:
        place, key = (session.number, record.seq), (session.shard, is_in_lane)
        newest = self._newest.get(key)
        if newest is not None and place < newest:
            self.reordered_count += 1
            if len(self.reordered_examples) < 20:
                text = f"shard {session.shard}: {record.session_id}:{record.seq} after {newest} (session, seq)"
                self.reordered_examples.append(f"{text} at {record.at:.3f} {_cause(record)}")
        else:
            self._newest[key] = place

    def _check_token(self, record: HandledDispatch, *, is_in_lane: bool) -> None:
        key = (record.shard, is_in_lane)
        newest = self._tokens.get(key, 0)
        if record.fencing_token < newest and not record.redelivered:
            self.stale_count += 1
        self._tokens[key] = max(newest, record.fencing_token)

    @property
    def unknown_count(self) -> int:
        """How many records name a dispatch that the ledger does not have (yet)."""
        return len(self._early)

    # What is missing

    def missing(self) -> Iterator[tuple[str, int, float]]:
        """What was sent and not handled so far: session id, seq, sent at."""
        for session_id, session in self._sessions.items():
            for seq in sorted(session.unhandled):
                yield session_id, seq, session.sent_at[seq]

    def missing_ids(self, ended: Mapping[str, EndedSession]) -> tuple[set[str], set[str]]:
        """Message ids of what is lost, and of what is forfeited: the tail of a session that a fault ended."""
        lost: set[str] = set()
        forfeited: set[str] = set()
        for session_id, seq, _ in self.missing():
            end = ended.get(session_id)
            (forfeited if end is not None and seq > end.kept_seq else lost).add(f"{session_id}:{seq}")
        return lost, forfeited


def _cause(record: HandledDispatch) -> str:
    if record.redelivered:
        return "redelivered"
    return "replayed" if record.replayed else "published_again"


def ended_by_faults(sessions: Iterable[Mapping[str, Any]], *, may_forfeit: Collection[str]) -> dict[str, EndedSession]:
    """The sessions that Discord ended because a fault said so, from the simulator's `/sessions`.

    Of those in `may_forfeit` Discord may never have delivered what lies beyond `acked_seq`; of all others everything
    was delivered to a living worker before the end.
    """
    found: dict[str, EndedSession] = {}
    for session in sessions:
        session_id = session["session"]
        if session["end_reason"] in DISCORDS_WILL:
            kept = session["acked_seq"] if session_id in may_forfeit else session["last_seq"]
            found[session_id] = EndedSession(session_id, kept)
    return found


def sessions_lost_by_us(sessions: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Sessions that ended although no fault ended them, by reason."""
    reasons = (session["end_reason"] for session in sessions)
    return dict(Counter(reason for reason in reasons if reason and reason not in DISCORDS_WILL))


def orphans(sessions: Iterable[Mapping[str, Any]]) -> set[str]:
    """Sessions that nobody serves while another session of their shard is served: nobody will resume them."""
    living = [session for session in sessions if session["state"] != "ended"]
    served = {session["shard"] for session in living if session["state"] == "connected"}
    return {session["session"] for session in living if session["state"] != "connected" and session["shard"] in served}


def doubled_shards(sessions: Iterable[Mapping[str, Any]]) -> set[int]:
    """Shards with more than one served session."""
    counts = Counter(session["shard"] for session in sessions if session["state"] == "connected")
    return {shard for shard, count in counts.items() if count > 1}


def percentile(values: Iterable[float], share: float) -> float | None:
    """The value below which `share` (0 to 1) of the values lie; None without any."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
