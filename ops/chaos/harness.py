"""Plays the rounds of a chaos run: strike, wait until all has settled, judge."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops.chaos.memory import MemorySample, resident_bytes
from ops.chaos.schedule import Kind, plan_round
from ops.chaos.stage import is_served, open_stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ops.chaos.schedule import Round
    from ops.chaos.settings import ChaosSettings
    from ops.chaos.stage import Stage

SETTLE_TIMEOUT_S = 60.0
CALM_S = 1.0
"""Traffic between two rounds."""
POLL_S = 0.25
MEMORY_INTERVAL_S = 2.0


@dataclass
class Outcome:
    """What a run found; `given_up`: message ids that did not settle in time; `sessions`: the simulator's last word."""

    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    settle_s: list[float] = field(default_factory=list)
    takeovers_s: list[float] = field(default_factory=list)
    missing_takeovers: int = 0
    failed_rounds: list[dict[str, Any]] = field(default_factory=list)
    given_up: set[str] = field(default_factory=set)
    memory: list[MemorySample] = field(default_factory=list)
    duration_s: float = 0.0
    crashes: int = 0
    sessions: list[dict[str, Any]] = field(default_factory=list)
    verdict: dict[str, Any] = field(default_factory=dict)


class Harness:
    """One run; `run()` gives the outcome and the stage's judge stays in `stage`."""

    def __init__(self, settings: ChaosSettings, directory: Path, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._directory = directory
        self._tell = say
        self._log = directory.with_name(f"{directory.name}.log")
        self.outcome = Outcome()

    async def run(self, stop: asyncio.Event) -> tuple[Outcome, Stage]:
        """All rounds, or those until `stop` is set. Raises RelayError if the stage cannot be set."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("w", encoding="utf-8", buffering=1) as log:

            def note(text: str) -> None:
                now = time.time()
                log.write(f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now % 1 * 1000):03d} {text}\n")

            def say(text: str) -> None:
                self._tell(text)
                note(f"chaos | {text}")

            self._say = say
            say(f"the log of all processes: {self._log}")
            async with open_stage(self._settings, self._directory, note) as stage:
                return await stage.supervisor.run(self._play(stage, stop))

    async def _play(self, stage: Stage, stop: asyncio.Event) -> tuple[Outcome, Stage]:
        settings, outcome = self._settings, self.outcome
        await stage.simulator.start_traffic(rate=settings.rate, mix="mixed", seed=settings.seed)
        self._say(f"streaming {settings.rate:g} dispatches/s over each of {settings.size.shards} shards")
        started_at = time.monotonic()
        watching = asyncio.create_task(self._watch_memory(stage, started_at), name="memory")
        try:
            number = settings.first_round
            while not stop.is_set() and self._goes_on(number, time.monotonic() - started_at):
                await self._round(stage, plan_round(settings.seed, number, settings.kinds, settings.size))
                number += 1
        finally:
            watching.cancel()
        await stage.simulator.stop_traffic()
        outcome.duration_s = time.monotonic() - started_at
        await self._settle(stage)
        await stage.cast.stop()
        outcome.sessions = await stage.judge.look()
        outcome.verdict = await stage.simulator.verdict()
        outcome.crashes = sum(child.restart_count for child in stage.supervisor.children)
        return outcome, stage

    def _goes_on(self, number: int, elapsed_s: float) -> bool:
        if self._settings.soak_s is not None:
            return elapsed_s < self._settings.soak_s
        return number < self._settings.first_round + self._settings.rounds

    async def _round(self, stage: Stage, planned: Round) -> None:
        outcome, faults = self.outcome, stage.faults
        outcome.rounds += 1
        outcome.faults.update(strike.kind.value for strike in planned.strikes)
        strikes = "; ".join(map(str, planned.strikes))
        self._say(f"round {planned.number}: {strikes}")
        faults.kills.clear()
        faults.freezes.clear()
        began_at = time.time()
        async with asyncio.TaskGroup() as group:
            for strike in planned.strikes:
                group.create_task(faults.strike(strike), name=str(strike))
        stage.judge.freezes += faults.freezes
        if planned.may_forfeit:
            stage.judge.allow_forfeits(await stage.judge.look(), since=began_at)
        problem = await self._settle(stage)
        self._note_takeovers(stage, planned)
        if problem:
            outcome.failed_rounds.append({"round": planned.number, "faults": strikes, "problem": problem})
            self._say(f"round {planned.number} did NOT settle: {problem}")
        await asyncio.sleep(CALM_S)

    async def _settle(self, stage: Stage) -> str | None:
        """Wait until every place is filled, every shard served and all that was sent is handled; else what is not."""
        judge, size = stage.judge, self._settings.size
        began_at, before = time.monotonic(), time.time()
        give_up_at = began_at + SETTLE_TIMEOUT_S
        problem = ""
        while time.monotonic() < give_up_at:
            sessions = await judge.look()
            served = is_served(sessions, size.shards)
            count = judge.awaited(sessions, before=before, given_up=self.outcome.given_up)
            if served and not count and await stage.cast.until_filled(0.01):
                self.outcome.settle_s.append(time.monotonic() - began_at)
                return None
            problem = f"{count} dispatches not handled, all shards served: {served}"
            await asyncio.sleep(POLL_S)
        sessions = await judge.look()
        lost, _ = judge.lost_and_forfeited(sessions)
        self.outcome.given_up |= lost
        return problem

    def _note_takeovers(self, stage: Stage, planned: Round) -> None:
        """How long the shards of killed workers were without a session; only where nothing else was broken."""
        taken = [stage.judge.takeover_s(shard, kill.at) for kill in stage.faults.kills for shard in sorted(kill.shards)]
        self.outcome.missing_takeovers += sum(one is None for one in taken)
        found = [one for one in taken if one is not None]
        if planned.kinds == {Kind.KILL_WORKER}:
            self.outcome.takeovers_s += found
        if found:
            self._say(f"  taken over in {', '.join(f'{one:.2f} s' for one in found)}")

    async def _watch_memory(self, stage: Stage, started_at: float) -> None:
        while True:
            now = time.monotonic()
            pids = [(place.name, place.pid, now - place.started_at) for place in stage.cast.places]
            pids += [("broker", stage.node.pid if stage.node else None, now - started_at)]
            pids += [("simulator", stage.simulator_pid, now - started_at)]
            for name, pid, age_s in pids:
                size = resident_bytes(pid) if pid else None
                if size is not None:
                    self.outcome.memory.append(MemorySample(name, now - started_at, age_s, size))
            await asyncio.sleep(MEMORY_INTERVAL_S)
