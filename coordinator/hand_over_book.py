"""Which hand-overs the coordinator has asked for, and how far each one is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from coordinator.lease_records import ShardRecord
    from coordinator.rebalance import Move

EXPIRE_S = 100.0
"""A worker's hand-over is over before. Its own waits add up to 28 s: no more commands 1, close 6, confirms 5, last
checkpoint 5, unbinding and release together 11."""
CONNECTED = "connected"


@dataclass(frozen=True, slots=True)
class HandOver:
    """The giver was asked to hand the shard over, which it holds under `fencing_token`."""

    move: Move
    fencing_token: int
    asked_at: float

    def is_asked(self, record: ShardRecord) -> bool:
        """Whether the giver still holds the shard."""
        return record.is_held_by(self.move.giver, self.fencing_token)

    def is_over(self, record: ShardRecord) -> bool:
        """Whether the receiver runs the shard, or somebody else got it."""
        if record.holder is None or self.is_asked(record):
            return False
        return record.holder != self.move.receiver or record.state == CONNECTED


class HandOverBook:
    """At most one hand-over for each shard; an entry stays until the receiver has a session running."""

    def __init__(self) -> None:
        self._by_shard: dict[int, HandOver] = {}

    def __len__(self) -> int:
        return len(self._by_shard)

    def __iter__(self) -> Iterator[HandOver]:
        return iter(self._by_shard.values())

    def ask(self, move: Move, *, fencing_token: int, now: float) -> None:
        """Enter a hand-over that the giver is asked for from now on."""
        self._by_shard[move.shard] = HandOver(move, fencing_token, now)

    @property
    def receivers(self) -> dict[int, str]:
        """Which worker each shard is on its way to."""
        return {shard: one.move.receiver for shard, one in self._by_shard.items()}

    def is_asked(self, record: ShardRecord) -> bool:
        """Whether the shard's holder is asked for it."""
        entry = self._by_shard.get(record.shard)
        return entry is not None and entry.is_asked(record)

    def forget_receiver(self, worker_id: str) -> None:
        """A worker is gone or takes nothing more: what was to go to it is not asked for any longer."""
        self._by_shard = {shard: one for shard, one in self._by_shard.items() if one.move.receiver != worker_id}

    def forget_giver(self, worker_id: str) -> None:
        """Ask a worker for nothing more."""
        self._by_shard = {shard: one for shard, one in self._by_shard.items() if one.move.giver != worker_id}

    def clear(self) -> None:
        """Forget all."""
        self._by_shard.clear()

    def sweep(self, records: Iterable[ShardRecord], now: float) -> list[HandOver]:
        """Take out what is over, and what took too long; gives the latter."""
        known = {record.shard: record for record in records if record.shard in self._by_shard}
        gone = [one for one in self._by_shard.values() if one.move.shard not in known]
        over = [one for one in self._by_shard.values() if one not in gone and one.is_over(known[one.move.shard])]
        late = [one for one in self._by_shard.values() if one not in over and now - one.asked_at >= EXPIRE_S]
        for entry in {*gone, *over, *late}:
            self._by_shard.pop(entry.move.shard, None)
        return late
