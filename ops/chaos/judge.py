"""Follows the simulator's ledger and the handlers' records while a run goes on, and says what is missing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ops.chaos.verdict import (
    HANDSHAKES,
    Comparison,
    EndedSession,
    SentDispatch,
    doubled_shards,
    ended_by_faults,
    orphans,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from ops.chaos.faults import Freeze
    from ops.chaos.records import RecordFolder
    from ops.simulator_client import SimulatorClient

HEARTBEAT_MISSED = "heartbeat_missed"
BLAME_S = 5.0
"""The simulator looks twice before it calls a heartbeat missed."""


class Judge:
    """`handlers` are those of the group that is killed at will, `witness` those of one process that never is."""

    def __init__(self, simulator: SimulatorClient, handlers: RecordFolder, witness: RecordFolder) -> None:
        self._simulator = simulator
        self._folders = {"handlers": handlers, "witness": witness}
        self._row = 0
        self._may_forfeit: set[str] = set()
        self.handlers = Comparison()
        self.witness = Comparison()
        self.handshakes: list[tuple[int, float, str]] = []
        """READY and RESUMED: shard, sent at, type."""
        self.freezes: list[Freeze] = []
        self.doubled_shards: set[int] = set()

    async def look(self) -> list[dict[str, Any]]:
        """Read what is new; the simulator's sessions."""
        rows = await self._simulator.ledger_after(self._row)
        if rows:
            self._row = rows[-1]["n"]
        sent = [SentDispatch(row["session"], row["shard"], row["seq"], row["type"], row["at"]) for row in rows]
        self.handshakes += [(row.shard, row.at, row.type) for row in sent if row.type in HANDSHAKES]
        for name, comparison in (("handlers", self.handlers), ("witness", self.witness)):
            comparison.add_sent(sent)
            comparison.add_handled(self._folders[name].read())
        sessions = await self._simulator.sessions()
        self.doubled_shards |= doubled_shards(sessions)
        return sessions

    def allow_forfeits(self, sessions: list[dict[str, Any]], shards: Collection[int], *, since: float) -> None:
        """Sessions of `shards` that ended since then may have ended before anyone had read all of them."""
        self._may_forfeit |= {
            one["session"]
            for one in sessions
            if one["shard"] in shards and one["ended_at"] and one["ended_at"] >= since
        }

    def ended(self, sessions: list[dict[str, Any]]) -> dict[str, EndedSession]:
        """The sessions that a fault ended, and up to where they must have been handled."""
        return ended_by_faults(sessions, may_forfeit=self._may_forfeit)

    def lost_and_forfeited(self, sessions: list[dict[str, Any]]) -> tuple[set[str], set[str]]:
        """Message ids that either group did not handle."""
        ended = self.ended(sessions)
        lost, forfeited = self.handlers.missing_ids(ended)
        more_lost, more_forfeited = self.witness.missing_ids(ended)
        return lost | more_lost, forfeited | more_forfeited

    def awaited(self, sessions: list[dict[str, Any]], *, before: float, given_up: set[str]) -> int:
        """How many dispatches sent before then are still to be handled, orphans' and hopeless ones left out."""
        hopeless = orphans(sessions)
        ended = self.ended(sessions)
        count = 0
        for comparison in (self.handlers, self.witness):
            for session_id, seq, at in comparison.missing():
                end = ended.get(session_id)
                is_forfeited = end is not None and seq > end.kept_seq
                if at < before and session_id not in hopeless and not is_forfeited:
                    count += f"{session_id}:{seq}" not in given_up
        return count

    def shakes_hands(self, shard: int, since: float) -> bool:
        """Whether a connection of the shard came to READY or RESUMED after that."""
        return any(other == shard and at > since for other, at, _ in self.handshakes)

    def takeover_s(self, shard: int, killed_at: float) -> float | None:
        """From a kill to the READY or RESUMED of the next holder; None if there was none."""
        after = [at for other, at, _ in self.handshakes if other == shard and at > killed_at]
        return min(after) - killed_at if after else None

    def excused_violations(self, verdict: dict[str, Any]) -> int:
        """Heartbeats that a worker missed because we had frozen it."""
        return sum(
            violation["rule"] == HEARTBEAT_MISSED
            and any(
                violation["shard"] in freeze.shards
                and freeze.began_at <= violation["at"] <= (freeze.ended_at or time.time()) + BLAME_S
                for freeze in self.freezes
            )
            for violation in verdict["violations"]
        )
