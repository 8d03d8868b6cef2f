"""What a scenario of a reliability run works with, and what a scenario is."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from eventbus.errors import RelayError
from ops.chaos.settle import SETTLE_TIMEOUT_S, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ops.chaos.cast import Cast, Place
    from ops.chaos.judge import Judge
    from ops.chaos.outcome import Outcome
    from ops.chaos.reliability.bounds import Bound
    from ops.chaos.settings import ChaosSettings
    from ops.chaos.stage import Stage
    from ops.chaos.timeline import Timeline

POLL_S = 0.1
READY_TIMEOUT_S = 60.0


class Scenario(Protocol):
    """One of the runs. The runner calls `begin`, then `round` until `is_done`, then, all being settled, `end`."""

    @property
    def settings(self) -> ChaosSettings:
        """The stage, the load, and who is on it."""

    @property
    def bounds(self) -> Sequence[Bound]:
        """Of its own figures."""

    @property
    def is_done(self) -> bool:
        """Whether no round is left."""

    async def begin(self, scene: Scene, /) -> None:
        """Before the first round; traffic streams already."""

    async def round(self, scene: Scene, /) -> dict[str, Any]:
        """One round, up to where all is settled again; its figures for the journal."""

    async def end(self, scene: Scene, /) -> None:
        """After the traffic stopped and all is settled, while every process still runs."""

    def figures(self, scene: Scene, /) -> dict[str, Any]:
        """The figures of the whole run, as far as it came."""


@dataclass
class Scene:
    """The running fleet and its judge; `witness` and `handlers` are the timelines of the two groups."""

    stage: Stage
    settings: ChaosSettings
    outcome: Outcome
    witness: Timeline
    handlers: Timeline
    stop: asyncio.Event
    say: Callable[[str], None]

    @property
    def cast(self) -> Cast:
        """Who is on stage."""
        return self.stage.cast

    @property
    def judge(self) -> Judge:
        """Compares ledger and records."""
        return self.stage.judge

    async def settle(self, *, timeout_s: float = SETTLE_TIMEOUT_S) -> bool:
        """Wait until all that was sent is handled; a round that does not settle is noted as failed."""
        problem = await settle(
            self.stage, self.outcome, self.settings.size.shards, timeout_s=timeout_s, must_be_filled=False
        )
        if problem:
            self.outcome.failed_rounds.append({"round": self.outcome.rounds, "problem": problem})
            self.say(f"round {self.outcome.rounds} did NOT settle: {problem}")
        return problem is None

    async def start_traffic(self) -> None:
        """Let dispatches stream; each start has a seed of its own."""
        seed = self.settings.seed + int(time.time())
        await self.stage.simulator.start_traffic(rate=self.settings.rate, mix="mixed", seed=seed)

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than until the run is told to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return

    async def look_until(self, condition: Callable[[], bool], what: str, *, timeout_s: float) -> None:
        """Read ledger and records until `condition()`. Raises RelayError if that takes longer than `timeout_s`."""
        give_up_at = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > give_up_at:
                raise RelayError(f"within {timeout_s:g} s it did not happen that {what}: see the log")
            await asyncio.sleep(POLL_S)
            await self.judge.look()

    async def until_ready(self, places: Sequence[Place]) -> None:
        """Wait until `places` are at work. Raises RelayError."""
        if not await self.cast.until_ready(places, READY_TIMEOUT_S):
            names = ", ".join(place.name for place in places if not place.is_ready)
            raise RelayError(f"{names} not at work within {READY_TIMEOUT_S:g} s: see the log")

    async def resumed(self, shards: Collection[int], since: float, *, timeout_s: float = 60.0) -> dict[int, float]:
        """Wait until each of `shards` has a READY or RESUMED after `since`; seconds since then, by shard."""

        def taken() -> dict[int, float | None]:
            return {shard: self.judge.takeover_s(shard, since) for shard in shards}

        await self.look_until(lambda: None not in taken().values(), f"{sorted(shards)} resumed", timeout_s=timeout_s)
        return {shard: seconds for shard, seconds in taken().items() if seconds is not None}

    async def room_for(self, victims: Collection[Place]) -> None:
        """Wait until the other workers can take what `victims` hold. Raises RelayError."""
        others = [place for place in self.cast.workers if place not in victims]

        def has_room() -> bool:
            ready = [place for place in others if place.is_ready and place.pid is not None and not place.is_frozen]
            room = sum(self.settings.size.capacity - len(place.held) for place in ready)
            return room >= sum(len(place.held) for place in victims)

        await self.look_until(has_room, "other workers have room for the shards", timeout_s=READY_TIMEOUT_S)

    def holders(self) -> list[Place]:
        """The workers that hold shards."""
        return [place for place in self.cast.workers if place.held and place.pid is not None]
