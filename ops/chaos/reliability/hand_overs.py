"""Planned hand-overs, by SIGTERM of a worker while others stand by: nothing lost, nothing twice, short gaps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ops.chaos.reliability.bounds import Bound, spread

if TYPE_CHECKING:
    from ops.chaos.reliability.scene import Scene
    from ops.chaos.settings import ChaosSettings

FULL_COUNT = 100
WINDOW_S = 2.0
"""A gap is looked for in times as long without any hand-over."""
AFTER_RESUMED_S = 0.5
"""A gap of a shard that moved is looked for from the SIGTERM until so long after it was resumed."""
QUIET_S = 30.0


class HandOvers:
    """A round is one SIGTERM; it hands over each shard of the worker, and each is a gap of its own."""

    bounds = (
        Bound("gap_p99_ms", most=500.0),
        Bound("gaps_not_measured", most=0),
        Bound("duplicated_by_witness", most=0),
        Bound("duplicated_by_handlers", most=0),
    )

    def __init__(self, count: int, fleet: ChaosSettings) -> None:
        self.settings = fleet
        self._count = count
        self._round_count = 0
        self._quiet_s = min(QUIET_S, 3.0 * count)
        self._moved_count = 0
        self._gaps_ms: list[float] = []
        self._other_gaps_ms: list[float] = []
        self._quiet_gaps_ms: list[float] = []

    @property
    def is_done(self) -> bool:
        """Whether all workers were handed over."""
        return self._round_count >= self._count

    async def begin(self, scene: Scene) -> None:
        """The same gaps in quiet time, as the noise."""
        await scene.settle()
        began_at = time.time()
        await scene.pause(self._quiet_s)
        await scene.settle()
        for number in range(int(self._quiet_s / WINDOW_S)):
            since = began_at + number * WINDOW_S
            self._quiet_gaps_ms += _gaps_ms(scene, range(self.settings.size.shards), since, WINDOW_S)

    async def round(self, scene: Scene) -> dict[str, Any]:
        """Hand over all that a worker holds; start it again when the window is over."""
        holders = scene.holders()
        leaver = holders[self._round_count % len(holders)]
        await scene.room_for([leaver])
        shards = frozenset(leaver.held)
        began_at = time.time()
        await scene.cast.terminate(leaver)
        resumed = await scene.resumed(shards, began_at)
        window_s = max(WINDOW_S, *(seconds + AFTER_RESUMED_S for seconds in resumed.values()))
        await scene.pause(began_at + window_s - time.time())
        await scene.settle()
        gaps_ms = _gaps_ms(scene, shards, began_at, window_s)
        others = frozenset(range(self.settings.size.shards)) - shards
        self._moved_count += len(shards)
        self._gaps_ms += gaps_ms
        self._other_gaps_ms += _gaps_ms(scene, others, began_at, window_s)
        self._round_count += 1
        scene.cast.fill(leaver)
        await scene.until_ready([leaver])
        return {"shards": len(shards), "gaps_ms": gaps_ms}

    async def end(self, _: Scene) -> None:
        """Nothing left to measure."""

    def figures(self, scene: Scene) -> dict[str, Any]:
        """Gaps of the shards that moved, of those that did not at the same times, and of all in quiet time."""
        return {
            "workers_handed_over": self._round_count,
            "shards_handed_over": self._moved_count,
            "gaps_not_measured": self._moved_count - len(self._gaps_ms),
            "duplicated_by_witness": scene.judge.witness.duplicates.total(),
            "duplicated_by_handlers": scene.judge.handlers.duplicates.total(),
            **spread(self._gaps_ms, "gap", "ms", digits=1),
            **spread(self._other_gaps_ms, "gap_of_others", "ms", digits=1),
            **spread(self._quiet_gaps_ms, "gap_in_quiet", "ms", digits=1),
        }


def _gaps_ms(scene: Scene, shards: range | frozenset[int], since: float, window_s: float) -> list[float]:
    gaps = (scene.witness.largest_gap_s(shard, since, since + window_s) for shard in sorted(shards))
    return [round(1000 * gap, 1) for gap in gaps if gap is not None]
