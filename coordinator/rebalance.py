"""The plan of hand-overs: a draining worker is emptied, the others get even counts of leases. Pure.

Algorithm: greedy. While some worker could take a shard from one that holds at least two more, the fullest giver gives
to the emptiest such receiver. Each move makes the sum of the squared counts smaller, so it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coordinator.placement import Candidate

WORTH_A_MOVE = 2
"""With a difference of one, a move would only swap who has more."""


@dataclass(frozen=True, slots=True)
class Move:
    """A planned hand-over of one shard."""

    shard: int
    giver: str
    receiver: str


def plan_drain(
    candidates: Iterable[Candidate], holders: Mapping[int, str], *, fixed: frozenset[int] = frozenset()
) -> list[Move]:
    """The moves that take the shards of draining workers to others, as far as these take them.

    `holders` says who holds each shard; `fixed` shards stay where they are. A shard that fewer workers take goes first.
    """
    fleet = _Fleet(candidates, holders, fixed)
    givers = [(shard, one) for one in fleet.candidates if one.is_draining for shard in fleet.movable[one.worker_id]]
    moves = []
    for shard, giver in sorted(givers, key=lambda entry: (fleet.taker_count(entry[0]), entry[0])):
        receiver = fleet.emptiest_for(shard)
        if receiver is not None:
            moves.append(fleet.move(shard, giver, receiver))
    return moves


def plan_spread(
    candidates: Iterable[Candidate], holders: Mapping[int, str], *, fixed: frozenset[int] = frozenset()
) -> list[Move]:
    """The moves that make the counts of leases even, among workers that do not drain; else as `plan_drain`."""
    fleet = _Fleet(candidates, holders, fixed)
    moves = []
    while (found := fleet.next_even_move()) is not None:
        moves.append(fleet.move(*found))
    return moves


class _Fleet:
    """Who would hold how much, move after move."""

    def __init__(self, candidates: Iterable[Candidate], holders: Mapping[int, str], fixed: frozenset[int]) -> None:
        self.candidates = sorted(candidates, key=lambda one: one.worker_id)
        self.movable: dict[str, set[int]] = {one.worker_id: set() for one in self.candidates}
        self._counts = dict.fromkeys(self.movable, 0)
        for shard, holder in holders.items():
            if holder in self._counts:
                self._counts[holder] += 1
                if shard not in fixed:
                    self.movable[holder].add(shard)

    def move(self, shard: int, giver: Candidate, receiver: Candidate) -> Move:
        """Count a move; a shard moves once in a plan."""
        self.movable[giver.worker_id].discard(shard)
        self._counts[giver.worker_id] -= 1
        self._counts[receiver.worker_id] += 1
        return Move(shard, giver.worker_id, receiver.worker_id)

    def taker_count(self, shard: int) -> int:
        return sum(self._takes(one, shard) for one in self.candidates)

    def emptiest_for(self, shard: int) -> Candidate | None:
        takers = [one for one in self.candidates if self._takes(one, shard)]
        return min(takers, key=self._count, default=None)

    def next_even_move(self) -> tuple[int, Candidate, Candidate] | None:
        receivers = sorted((one for one in self.candidates if one.has_room(self._count(one))), key=self._count)
        givers = sorted((one for one in self.candidates if not one.is_draining), key=self._count, reverse=True)
        for giver in givers:
            for receiver in receivers:
                if self._count(giver) - self._count(receiver) < WORTH_A_MOVE:
                    break
                shard = self._shard_for(giver, receiver)
                if shard is not None:
                    return shard, giver, receiver
        return None

    def _shard_for(self, giver: Candidate, receiver: Candidate) -> int | None:
        held = self.movable[giver.worker_id]
        return min(held if receiver.wanted is None else held & receiver.wanted, default=None)

    def _takes(self, one: Candidate, shard: int) -> bool:
        return one.takes(shard, lease_count=self._count(one))

    def _count(self, one: Candidate) -> int:
        return self._counts[one.worker_id]
