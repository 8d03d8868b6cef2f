"""Compares the simulator's ledger with what a bot's handlers wrote down: lost, duplicated, how late.

Pure; the ledger is the judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HANDSHAKES = frozenset({"READY", "RESUMED"})


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of dispatches; latencies in milliseconds from Discord's send to the handler, None without any."""

    sent: int
    handled: int
    lost: int
    duplicated: int
    p50_ms: float | None
    p99_ms: float | None
    lost_by_type: Mapping[str, int]


def tally(ledger: Iterable[tuple[str, str, float]], record: Iterable[tuple[str, float]]) -> Tally:
    """Compare `ledger` (message id, type, sent at) with `record` (message id, handled at).

    A dispatch that was handled twice counts once as handled and once as duplicated. READY and RESUMED are left out:
    they belong to one connection, and Discord does not send them again when that connection is lost.
    """
    events = ((message_id, event_type, at) for message_id, event_type, at in ledger if event_type not in HANDSHAKES)
    sent = {message_id: (event_type, at) for message_id, event_type, at in events}
    handled: dict[str, float] = {}
    duplicated = 0
    for message_id, at in record:
        if message_id not in sent:
            continue
        if message_id in handled:
            duplicated += 1
        handled[message_id] = min(at, handled.get(message_id, at))
    lost = [event_type for message_id, (event_type, _) in sent.items() if message_id not in handled]
    latencies = [(at - sent[message_id][1]) * 1000 for message_id, at in handled.items()]
    cuts = quantiles(latencies, n=100) if len(latencies) > 1 else None
    return Tally(
        sent=len(sent),
        handled=len(handled),
        lost=len(lost),
        duplicated=duplicated,
        p50_ms=round(cuts[49], 1) if cuts else None,
        p99_ms=round(cuts[98], 1) if cuts else None,
        lost_by_type={event_type: lost.count(event_type) for event_type in sorted(set(lost))},
    )


def takeover_s(ledger: Iterable[tuple[str, str, float]], *, since: float, session_count: int) -> float | None:
    """Seconds from `since` until Discord said RESUMED to `session_count` sessions; None if it has not yet.

    `ledger` and `since` as in `tally`: seconds since the epoch.
    """
    first: dict[str, float] = {}
    for message_id, event_type, at in ledger:
        if event_type == "RESUMED" and at >= since:
            session_id = message_id.rpartition(":")[0]
            first[session_id] = min(at, first.get(session_id, at))
    resumed_at = sorted(first.values())
    return resumed_at[session_count - 1] - since if len(resumed_at) >= session_count else None
