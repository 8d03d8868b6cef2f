"""Plays the rounds of a chaos run: strike, wait until all has settled, judge."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from ops.chaos.outcome import Outcome
from ops.chaos.report import make_report
from ops.chaos.schedule import ON_CONNECTION_KINDS, Kind, plan_round
from ops.chaos.settle import settle, watch_memory
from ops.chaos.stage import open_stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ops.chaos.schedule import Round
    from ops.chaos.settings import ChaosSettings
    from ops.chaos.stage import Stage

CALM_S = 1.0
"""Traffic between two rounds."""
NEW_CONNECTION_S = 20.0
POLL_S = 0.25
REPORT_INTERVAL_S = 180.0
"""How often a report is appended to the file beside the log, so that a run that is cut off leaves figures."""


class Harness:
    """One run; `run()` gives the outcome and the stage's judge stays in `stage`."""

    def __init__(self, settings: ChaosSettings, directory: Path, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._directory = directory
        self._tell = say
        self._log = directory.with_name(f"{directory.name}.log")
        self._reports = directory.with_name(f"{directory.name}.jsonl")
        self._reported_at = time.monotonic()
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
        watching = asyncio.create_task(watch_memory(stage, outcome), name="memory")
        try:
            number = settings.first_round
            while not stop.is_set() and self._goes_on(number, time.monotonic() - started_at):
                await self._round(stage, plan_round(settings.seed, number, settings.kinds, settings.size))
                number += 1
                if time.monotonic() - self._reported_at >= REPORT_INTERVAL_S:
                    await self._report(stage, time.monotonic() - started_at, is_final=False)
        finally:
            watching.cancel()
        outcome.is_complete = not stop.is_set()
        await stage.simulator.stop_traffic()
        outcome.duration_s = time.monotonic() - started_at
        problem = await settle(stage, outcome, settings.size.shards)
        if problem:
            outcome.failed_rounds.append({"round": number, "faults": "none: the traffic has ended", "problem": problem})
            self._say(f"the end FAILED: {problem}")
        await stage.cast.stop()
        await self._report(stage, outcome.duration_s, is_final=True)
        return outcome, stage

    async def _report(self, stage: Stage, duration_s: float, *, is_final: bool) -> None:
        """Take the simulator's word up to now, and append a report to the file.

        In all but the last, what is on its way counts as lost.
        """
        outcome = self.outcome
        outcome.duration_s = duration_s
        await outcome.refresh(stage)
        report = make_report(self._settings, outcome, stage.judge)
        with self._reports.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": round(time.time()), "is_final": is_final, **report}) + "\n")
        self._reported_at = time.monotonic()

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
        faults.begin_round()
        copies = _published_twice(stage)
        began_at = time.time()
        async with asyncio.TaskGroup() as group:
            for strike in planned.strikes:
                group.create_task(faults.strike(strike), name=str(strike))
        stage.judge.freezes += faults.freezes
        unread = planned.unread_shards | faults.struck_shards
        stage.judge.allow_forfeits(await stage.judge.look(), unread, since=began_at)
        outcome.faults_without_effect += len(faults.without_effect)
        problem = await settle(stage, outcome, self._settings.size.shards)
        self._note_takeovers(stage, planned)
        if problem is None and len(planned.strikes) == 1:
            problem = await _not_as_it_should(stage, planned, began_at, _published_twice(stage) - copies)
        if problem:
            outcome.failed_rounds.append({"round": planned.number, "faults": strikes, "problem": problem})
            self._say(f"round {planned.number} FAILED: {problem}")
        await asyncio.sleep(CALM_S)

    def _note_takeovers(self, stage: Stage, planned: Round) -> None:
        """How long the shards of killed workers were without a session; only where nothing else was broken."""
        taken = [stage.judge.takeover_s(shard, kill.at) for kill in stage.faults.kills for shard in sorted(kill.shards)]
        self.outcome.missing_takeovers += sum(one is None for one in taken)
        found = [one for one in taken if one is not None]
        if planned.kinds == {Kind.KILL_WORKER}:
            self.outcome.takeovers_s += found
        if found:
            self._say(f"  taken over in {', '.join(f'{one:.2f} s' for one in found)}")


async def _not_as_it_should(stage: Stage, planned: Round, began_at: float, copies: int) -> str | None:
    """What one fault alone should have done and did not, or None; `copies`: of the witness, in the round."""
    kind, shard = planned.strikes[0].kind, planned.strikes[0].shard
    if stage.faults.without_effect:
        return "the fault had no effect"
    if kind in ON_CONNECTION_KINDS and not await _connects_anew(stage, shard, began_at):
        return f"shard {shard} did not connect anew within {NEW_CONNECTION_S:g} s"
    if kind is Kind.TERM_WORKER and copies:
        return f"a hand-over was not exact: {copies} dispatches were published twice"
    return None


async def _connects_anew(stage: Stage, shard: int, since: float) -> bool:
    """Its last connection may have looked well for a moment more, when all had settled."""
    give_up_at = time.monotonic() + NEW_CONNECTION_S
    while not stage.judge.shakes_hands(shard, since):
        if time.monotonic() > give_up_at:
            return False
        await asyncio.sleep(POLL_S)
        await stage.judge.look()
    return True


def _published_twice(stage: Stage) -> int:
    causes = stage.judge.witness.duplicates
    return causes["published_again"] + causes["replayed"]
