"""Which workers run what they hold: one whose shards stay unconnected should not get more of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.hand_over_book import CONNECTED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coordinator.lease_records import ShardRecord

STUCK_S = 15.0
"""A connect takes a second or two."""
NOT_TRIED = frozenset({"granted", "starting", "waiting"})
"""In these states nobody has tried to connect yet: a permit may be long in coming."""


class RunningShards:
    """Remembers since when each lease has been tried in vain. `now` as for the rebalancer."""

    def __init__(self) -> None:
        self._tried_since: dict[tuple[int, str, int], float] = {}
        self._connected: frozenset[str] = frozenset()

    def watch(self, records: Iterable[ShardRecord], now: float) -> None:
        """Look at all shards; call it at least once a second."""
        held = [(record, record.holder) for record in records if record.holder is not None]
        self._connected = frozenset(holder for record, holder in held if record.state == CONNECTED)
        down = {(one.shard, holder, one.fencing_token): one.state for one, holder in held if one.state != CONNECTED}
        self._tried_since = {
            lease: self._tried_since.get(lease, now)
            for lease, state in down.items()
            if state not in NOT_TRIED or lease in self._tried_since
        }

    def is_proven(self, worker_id: str) -> bool:
        """Whether the worker runs a shard now."""
        return worker_id in self._connected

    def stuck(self, now: float) -> frozenset[str]:
        """The workers that hold a shard which they have tried to connect for STUCK_S."""
        return frozenset(worker_id for (_, worker_id, _), since in self._tried_since.items() if now - since >= STUCK_S)
