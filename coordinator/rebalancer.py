"""When shards move from worker to worker, and how many at a time. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from coordinator.fleet_state import is_late
from coordinator.hand_over_book import CONNECTED
from coordinator.placement import Candidate
from coordinator.rebalance import Move, plan_drain, plan_spread
from coordinator.running_shards import RunningShards

if TYPE_CHECKING:
    from coordinator.hand_over_book import HandOver
    from coordinator.lease_records import ShardRecord
    from coordinator.lease_table import LeaseTable

GIVING_AT_ONCE = 2
"""Hand-overs under way from one worker."""
LANDING_AT_ONCE = 4
"""Hand-overs under way to one worker, until its sessions run."""
PROBES_AT_ONCE = 1
"""The same for a worker that runs no shard yet: one that cannot reach Discord gets a single one."""
UNSETTLED = frozenset({"granted", "starting", "identifying", "handing_over"})
"""A shard in one of these states would spend an Identify in vain, or is on its way already."""


class Rebalancer:
    """Begins hand-overs in the table's book; `after_s` is how long the fleet must be calm before it spreads by itself.

    0 stands for never. `now` is in seconds on the coordinator's monotonic clock.
    """

    def __init__(self, table: LeaseTable, *, after_s: float) -> None:
        self._table = table
        self._after_s = after_s
        self._running = RunningShards()
        self._worker_ids: tuple[str, ...] = ()
        self._leases: tuple[tuple[str | None, int], ...] = ()
        self._calm_since = 0.0
        self._is_spreading = False

    def spread_now(self) -> None:
        """Spread the shards evenly, without waiting for calm."""
        self._is_spreading = True

    def sweep(self, now: float) -> list[HandOver]:
        """Forget the hand-overs that are over; gives those that took too long. They stop an even spread."""
        late = self._table.hand_overs.sweep(self._table.shards, now)
        if late:
            self._is_spreading, self._calm_since = False, now
        return late

    def begin(self, now: float) -> list[Move]:
        """Enter the hand-overs that begin now into the book."""
        self._watch(now)
        candidates = self._candidates(now)
        moves = plan_drain(candidates, self._holders(), fixed=self._fixed()) if _any_drains(candidates) else []
        if not moves and self._wants_spread(now):
            moves = plan_spread(candidates, self._holders(), fixed=self._fixed())
            self._is_spreading = bool(moves) or len(self._table.hand_overs) > 0
            self._calm_since = now  # nothing to move: the next look is as long away
        return self._ask(moves, now)

    def moves_left(self, now: float) -> list[tuple[Move, bool]]:
        """All moves of an even spread, with whether each has begun."""
        begun = [(entry.move, True) for entry in self._table.hand_overs]
        planned = plan_spread(self._candidates(now), self._holders(), fixed=self._fixed())
        return begun + [(move, False) for move in planned]

    def stuck_of(self, worker_id: str, now: float) -> tuple[int, ...]:
        """The shards of a draining worker that nobody else takes now."""
        on_their_way = frozenset(self._table.hand_overs.receivers)
        moves = plan_drain(self._candidates(now), self._holders(), fixed=on_their_way)
        moving = on_their_way | {move.shard for move in moves}
        return tuple(lease.shard for lease in self._table.leases_of(worker_id) if lease.shard not in moving)

    # Inside

    def _watch(self, now: float) -> None:
        self._running.watch(self._table.shards, now)
        worker_ids = tuple(worker.worker_id for worker in self._table.workers)
        leases = tuple((record.holder, record.fencing_token) for record in self._table.shards)
        if (worker_ids, leases) != (self._worker_ids, self._leases):
            self._calm_since = now
        if worker_ids != self._worker_ids:
            self._is_spreading = False
        self._worker_ids, self._leases = worker_ids, leases

    def _wants_spread(self, now: float) -> bool:
        return self._is_spreading or (self._after_s > 0 and now - self._calm_since >= self._after_s)

    def _candidates(self, now: float) -> list[Candidate]:
        # One that leaves hands over by itself; one that renews late may be frozen, one whose shards do not connect may
        # be cut off from Discord: these get nothing.
        stuck = self._running.stuck(now)
        return [
            Candidate(one.worker_id, one.wanted, one.capacity, 0, one.is_draining)
            for one in self._table.workers
            if not one.is_leaving and (one.is_draining or not (is_late(one, now) or one.worker_id in stuck))
        ]

    def _holders(self) -> dict[int, str]:
        held = {record.shard: record.holder for record in self._table.shards if record.holder is not None}
        return held | self._table.hand_overs.receivers

    def _fixed(self) -> frozenset[int]:
        on_their_way = self._table.hand_overs.receivers
        draining = {worker.worker_id for worker in self._table.workers if worker.is_draining}
        return frozenset(
            record.shard
            for record in self._table.shards
            if record.shard in on_their_way or not _is_movable(record, is_draining=record.holder in draining)
        )

    def _ask(self, moves: list[Move], now: float) -> list[Move]:
        book, records = self._table.hand_overs, self._table.shards
        giving = Counter(one.move.giver for one in book if records[one.move.shard].holder in (None, one.move.giver))
        landing = Counter(one.move.receiver for one in book)
        begun = []
        for move in moves:
            room = LANDING_AT_ONCE if self._running.is_proven(move.receiver) else PROBES_AT_ONCE
            if giving[move.giver] < GIVING_AT_ONCE and landing[move.receiver] < room:
                giving[move.giver] += 1
                landing[move.receiver] += 1
                book.ask(move, fencing_token=records[move.shard].fencing_token, now=now)
                begun.append(move)
        return begun


def _any_drains(candidates: list[Candidate]) -> bool:
    return any(one.is_draining for one in candidates)


def _is_movable(record: ShardRecord, *, is_draining: bool) -> bool:
    return record.state not in UNSETTLED if is_draining else record.state == CONNECTED
