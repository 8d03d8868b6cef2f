"""Placement: which worker gets which free shard. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


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
        return self.has_room(lease_count) and (self.wanted is None or shard in self.wanted)

    def has_room(self, lease_count: int) -> bool:
        """Whether it may get any shard at all while it has `lease_count` leases."""
        return not self.is_draining and (self.capacity is None or lease_count < self.capacity)


def place(
    shards: Iterable[int],
    candidates: Iterable[Candidate],
    *,
    released_by: Mapping[int, str],
    receivers: Mapping[int, str] | None = None,
    late: Collection[str] = (),
) -> list[tuple[int, str]]:
    """A worker for each of `shards` that anyone takes, as (shard, worker id), in ascending order of shards.

    A shard on its way to somebody (`receivers`) goes there if that worker takes it, before all others are placed. Else
    the eligible worker with the fewest leases gets a shard, the smallest id among equals. One that has just given the
    shard back (`released_by`) comes behind them, and those that may be frozen (`late`) come last.
    """
    known = sorted(candidates, key=lambda candidate: candidate.worker_id)
    counts = {candidate.worker_id: candidate.lease_count for candidate in known}
    chosen_receivers = receivers or {}
    placed: list[tuple[int, str]] = []
    for shard in sorted(shards, key=lambda shard: (shard not in chosen_receivers, shard)):
        eligible = [one.worker_id for one in known if one.takes(shard, lease_count=counts[one.worker_id])]
        if eligible:
            receiver, giver = chosen_receivers.get(shard), released_by.get(shard)
            chosen = min(eligible, key=lambda one: (one in late, one != receiver, one == giver, counts[one], one))
            counts[chosen] += 1
            placed.append((shard, chosen))
    return sorted(placed)
