"""SIGSTOP of workers until others hold their shards, then SIGCONT: the former holder publishes nothing any more."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ops.chaos.faults import Freeze
from ops.chaos.reliability.bounds import Bound, spread

if TYPE_CHECKING:
    from ops.chaos.cast import Place
    from ops.chaos.reliability.scene import Scene
    from ops.chaos.settings import ChaosSettings

FULL_COUNT = 50
AT_ONCE = 2
TAKEOVER_TIMEOUT_S = 90.0
AFTER_TAKEOVER_S = 0.5
"""The successor publishes before the former holder wakes up."""
HOARD_S = 1.0
"""How long the consumer is given dispatches that it does not handle."""
SESSION_TIMEOUT_S = 150.0
"""Longer than a takeover from a frozen worker takes: else Discord ends the session before."""


class Freezes:
    """A round freezes two holders of different shards at once, which saves half of the time; each counts.

    A consumer is frozen before them and killed after the takeover: what it was given comes late, under the former
    holders' fencing tokens, to one that has heard of the successors.
    """

    bounds = (
        Bound("confirmed_but_dropped", most=0),
        Bound("handled_after_the_takeover", least=1),
        Bound("still_held_after_thaw", most=0),
    )

    def __init__(self, count: int, fleet: ChaosSettings) -> None:
        self.settings = replace(fleet, session_timeout_s=SESSION_TIMEOUT_S)
        self._count = count
        self._freeze_count = 0
        self._takeovers_s: list[float] = []
        self._still_held = 0

    @property
    def is_done(self) -> bool:
        """Whether all freezes are done."""
        return self._freeze_count >= self._count

    async def begin(self, _: Scene) -> None:
        """Nothing to prepare."""

    async def round(self, scene: Scene) -> dict[str, Any]:
        """Freeze, wait for the takeovers, thaw, wait until the former holders know that they hold nothing."""
        victims = scene.holders()[: min(AT_ONCE, self._count - self._freeze_count)]
        await scene.room_for(victims)
        former = {victim.name: frozenset(victim.held) for victim in victims}
        hoarder = scene.cast.consumers[scene.outcome.rounds % len(scene.cast.consumers)]
        scene.cast.freeze(hoarder)
        await scene.pause(HOARD_S)
        began_at = time.time()
        freezes = [self._freeze(scene, victim) for victim in victims]
        try:
            shards = frozenset[int]().union(*former.values())
            takeovers = await scene.resumed(shards, began_at, timeout_s=TAKEOVER_TIMEOUT_S)
            await scene.pause(AFTER_TAKEOVER_S)
        finally:
            scene.cast.kill(hoarder)
            for victim, freeze in zip(victims, freezes, strict=True):
                scene.cast.thaw(victim, victim.child)
                freeze.ended_at = time.time()
        await scene.look_until(
            lambda: not any(victim.held & former[victim.name] for victim in victims),
            "thawed workers dropped their leases",
            timeout_s=TAKEOVER_TIMEOUT_S,
        )
        await scene.settle()
        scene.cast.fill(hoarder)
        await scene.until_ready([hoarder])
        self._freeze_count += len(victims)
        self._takeovers_s += takeovers.values()
        return {
            "frozen": len(victims),
            "taken_over_s": round(max(takeovers.values()), 2),
            "stale": scene.judge.witness.stale_count,
        }

    def _freeze(self, scene: Scene, victim: Place) -> Freeze:
        freeze = Freeze(time.time(), frozenset(victim.held))
        scene.judge.freezes.append(freeze)
        scene.cast.freeze(victim)
        return freeze

    async def end(self, scene: Scene) -> None:
        """Whether the workers' own words and the sessions agree: each shard is held once."""
        held = [shard for place in scene.cast.workers for shard in place.held]
        self._still_held = len(held) - len(set(held))

    def figures(self, scene: Scene) -> dict[str, Any]:
        """`stale` of the report is what a former holder published after its successor.

        `confirmed_but_dropped`: what the witness has and the handlers never got, so that only a consumer can have
        dropped it. What consumers say that they dropped is the second copy of what was published twice.
        """
        judge = scene.judge
        unhandled = {(session_id, seq) for session_id, seq, _ in judge.handlers.missing()}
        unseen = {(session_id, seq) for session_id, seq, _ in judge.witness.missing()}
        return {
            "freezes": self._freeze_count,
            **spread(self._takeovers_s, "taken_over", "s"),
            "confirmed_but_dropped": len(unhandled - unseen),
            "handled_after_the_takeover": scene.handlers.late_count,
            "copies_of_former_holders_dropped": scene.cast.counted("former_holder_dropped"),
            "other_copies_dropped": scene.cast.counted("duplicates_dropped"),
            "still_held_after_thaw": self._still_held,
        }
