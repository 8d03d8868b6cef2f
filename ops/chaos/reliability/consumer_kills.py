"""SIGKILL of consumers in quick succession, now and then of all at once: nothing is lost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ops.chaos.reliability.bounds import Bound
from ops.chaos.reliability.scene import READY_TIMEOUT_S
from ops.chaos.schedule import Size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.chaos.cast import Place
    from ops.chaos.reliability.scene import Scene
    from ops.chaos.settings import ChaosSettings

FULL_COUNT = 300
INTERVAL_S = 2.0
ALL_EVERY = 10
"""One round in so many kills all consumers that are at work."""
MAX_BACKLOG = 5_000


class ConsumerKills:
    """A round kills one consumer while another is at work, or all. Each start of one costs more than a second of CPU,
    so the load is 400 dispatches/s: with more, two cores would only start consumers.
    """

    bounds: Sequence[Bound] = (Bound("dead_letters", most=0),)

    def __init__(self, count: int, fleet: ChaosSettings) -> None:
        size = Size(shards=8, workers=2, consumers=3, coordinators=1, standbys=0)
        self.settings = replace(fleet, rate=0.4 * fleet.rate, size=size)
        self._count = count
        self._kill_count = 0
        self._round_count = 0
        self._all_count = 0
        self._refills: set[asyncio.Task[None]] = set()

    @property
    def is_done(self) -> bool:
        """Whether all kills are done."""
        return self._kill_count >= self._count

    async def begin(self, _: Scene) -> None:
        """Nothing to prepare."""

    async def round(self, scene: Scene) -> dict[str, Any]:
        """Kill; the next round comes 2 s later, if another consumer is at work and the backlog is small."""
        began_at = time.monotonic()
        at_work = [place for place in scene.cast.consumers if place.is_ready and place.pid is not None]
        is_all = self._round_count % ALL_EVERY == ALL_EVERY // 2
        victims = at_work if is_all else [at_work[self._round_count % len(at_work)]]
        for victim in victims:
            scene.cast.kill(victim)
            victim.is_ready = False
            task = asyncio.create_task(_refill(scene, victim), name=f"refill {victim.name}")
            self._refills.add(task)
            task.add_done_callback(self._refills.discard)
        self._round_count += 1
        self._all_count += is_all
        self._kill_count += len(victims)
        await scene.pause(began_at + INTERVAL_S - time.monotonic())
        backlog = await self._until_calm(scene)
        return {"killed": len(victims), "backlog": backlog}

    async def _until_calm(self, scene: Scene) -> int:
        def at_work() -> int:
            return sum(place.is_ready for place in scene.cast.consumers)

        await scene.look_until(lambda: at_work() >= 2, "two consumers are at work", timeout_s=READY_TIMEOUT_S)
        backlogs: list[int] = []

        def is_small() -> bool:
            backlogs.append(sum(1 for _ in scene.judge.handlers.missing()))
            return backlogs[-1] <= MAX_BACKLOG

        await scene.judge.look()
        await scene.look_until(is_small, "the backlog became small", timeout_s=READY_TIMEOUT_S)
        return backlogs[0]

    async def end(self, _: Scene) -> None:
        """Nothing left to measure."""

    def figures(self, scene: Scene) -> dict[str, Any]:
        """Kills, how often everyone was gone, and what was taken for a killer of consumers."""
        return {
            "kills": self._kill_count,
            "times_all_were_gone": self._all_count,
            "dead_letters": scene.cast.actions["consumer", "dead_letter"],
        }


async def _refill(scene: Scene, place: Place) -> None:
    if place.child is not None:
        await place.child.ended.wait()
    scene.cast.fill(place)
