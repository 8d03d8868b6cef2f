"""Placement: which worker gets which free shard. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Candidate:
    """A worker as placement sees it: `wanted` None means any shard, `capacity` None means no bound."""

    worker_id: str
    wanted: frozenset[int] | None
    capacity: int | None
    lease_count: int
    is_draining: bool = False

    def takes(self, shard: int, *, lease_count: int) -> bool:
        """Whether it may get `shard` while it has `lease_count` leases."""
        if self.is_draining or (self.capacity is not None and lease_count >= self.capacity):
            return False
        return self.wanted is None or shard in self.wanted


def place(
    shards: Iterable[int], candidates: Iterable[Candidate], *, released_by: Mapping[int, str]
) -> list[tuple[int, str]]:
    """A worker for each of `shards` that anyone takes, as (shard, worker id), in ascending order of shards.

    The eligible worker with the fewest leases gets a shard, the smallest id among equals. One that has just given the
    shard back (`released_by`) comes last.
    """
    known = sorted(candidates, key=lambda candidate: candidate.worker_id)
    counts = {candidate.worker_id: candidate.lease_count for candidate in known}
    placed: list[tuple[int, str]] = []
    for shard in sorted(shards):
        eligible = [one.worker_id for one in known if one.takes(shard, lease_count=counts[one.worker_id])]
        if eligible:
            giver = released_by.get(shard)
            chosen = min(eligible, key=lambda worker_id: (worker_id == giver, counts[worker_id], worker_id))
            counts[chosen] += 1
            placed.append((shard, chosen))
    return placed
