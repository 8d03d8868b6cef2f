"""SIGKILL of a worker that holds shards, again and again: nothing is lost, and little is handled twice."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from ops.chaos.reliability.bounds import Bound, spread

if TYPE_CHECKING:
    from ops.chaos.reliability.scene import Scene
    from ops.chaos.settings import ChaosSettings

DUPLICATE_WINDOW_S = 0.15
CALM_S = (0.3, 1.0)
"""Before each kill, so that it falls anywhere between two checkpoints."""
FULL_COUNT = 300


class WorkerKills:
    """A round is one kill."""

    bounds = (
        Bound("takeover_p50_s", most=1.5),
        Bound("takeover_p99_s", most=4.0),
        Bound("kills_with_too_many_duplicates", most=0),
        Bound("kills_with_too_many_copies", most=0),
    )

    def __init__(self, count: int, fleet: ChaosSettings) -> None:
        self.settings = fleet
        self._count = count
        self._chance = random.Random(fleet.seed)  # noqa: S311 - not for secrets
        self._rounds: list[dict[str, Any]] = []

    @property
    def is_done(self) -> bool:
        """Whether all kills are done."""
        return len(self._rounds) >= self._count

    async def begin(self, _: Scene) -> None:
        """Nothing to prepare."""

    async def round(self, scene: Scene) -> dict[str, Any]:
        """Kill a holder, wait until its shards are resumed elsewhere and nothing is missing, start it again.

        Not at once, because a start takes more than a second of CPU, which two busy cores do not have beside the load.
        """
        holders = scene.holders()
        victim = holders[len(self._rounds) % len(holders)]
        await scene.room_for([victim])
        await scene.pause(self._chance.uniform(*CALM_S))
        shards = frozenset(victim.held)
        killed_at = time.time()
        scene.cast.kill(victim)
        if victim.child is not None:
            await victim.child.ended.wait()
        takeovers = await scene.resumed(shards, killed_at)
        await scene.settle()
        scene.cast.fill(victim)
        await scene.until_ready([victim])
        until = time.time()
        copies = scene.witness.repeated(shards, killed_at, until)
        figures = {
            "shards": len(shards),
            "takeovers_s": [round(seconds, 3) for seconds in takeovers.values()],
            "duplicates": len(scene.handlers.repeated(shards, killed_at, until)),
            "copies": len(copies),
            "published_150_ms": scene.witness.sent_count(shards, killed_at - DUPLICATE_WINDOW_S, killed_at),
            "oldest_copy_ms": round(1000 * max((killed_at - one.sent_at for one in copies), default=0.0), 1),
        }
        self._rounds.append(figures)
        scene.outcome.takeovers_s += takeovers.values()
        return figures

    async def end(self, _: Scene) -> None:
        """Nothing left to measure."""

    def figures(self, _: Scene) -> dict[str, Any]:
        """Takeover times of shards, and what each kill doubled against what was sent in the 150 ms before it.

        `duplicates`: what the bot's handlers handled again. `copies`: what the broker has twice, by the witness, which
        drops no copy.
        """
        rounds = self._rounds
        too_many = [one for one in rounds if one["duplicates"] > one["published_150_ms"]]
        return {
            "kills": len(rounds),
            "kills_with_too_many_duplicates": len(too_many),
            "too_many_duplicates": too_many[:10],
            "kills_with_too_many_copies": sum(one["copies"] > one["published_150_ms"] for one in rounds),
            **spread((one["duplicates"] for one in rounds), "duplicates", "per_kill"),
            **spread((one["copies"] for one in rounds), "copies", "per_kill"),
            **spread((one["published_150_ms"] for one in rounds), "published_150_ms", "per_kill"),
            **spread((one["oldest_copy_ms"] for one in rounds), "oldest_copy", "ms"),
        }
