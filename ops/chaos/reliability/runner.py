"""Plays one scenario: stage, traffic, rounds, the last settling, report."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from eventbus.errors import RelayError
from ops.chaos.outcome import Outcome
from ops.chaos.reliability.bounds import broken_bounds
from ops.chaos.reliability.journal import Journal
from ops.chaos.reliability.scene import Scene
from ops.chaos.report import make_report
from ops.chaos.settle import SETTLE_TIMEOUT_S, settle, watch_memory
from ops.chaos.stage import open_stage
from ops.chaos.timeline import Timeline

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ops.chaos.reliability.scene import Scenario
    from ops.chaos.reliability.settings import ReliabilitySettings
    from ops.chaos.stage import Stage

REPORT_INTERVAL_S = 120.0
WARM_UP_S = 3.0
"""From the first dispatch to the first round."""
LAST_SETTLE_S = 300.0
"""A backlog is no loss: without traffic it is handled."""


class Runner:
    """`run()` gives the report; what was measured until an error or `stop` is in it."""

    def __init__(self, settings: ReliabilitySettings, directory: Path, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._directory = directory
        self._say_outside = say
        self._journal = Journal(directory, settings.name)
        self._scenario: Scenario = settings.make_scenario()
        self._outcome = Outcome()
        self._scene: Scene | None = None
        self._problem: str | None = None
        self._started_at = 0.0

    def _say(self, text: str) -> None:
        self._say_outside(text)
        self._journal.note(f"reliability | {text}")

    async def run(self, stop: asyncio.Event) -> dict[str, Any]:
        """Play it. Raises RelayError if the stage cannot be set."""
        settings = self._settings
        with closing(self._journal):
            self._journal.row("start", {"run": settings.name, "count": settings.count, "seed": settings.seed})
            self._say(f"the log of all processes: {self._journal.log_path}")
            try:
                async with open_stage(
                    self._scenario.settings, self._directory / settings.name, self._journal.note
                ) as stage:
                    await stage.supervisor.run(self._play(stage, stop))
            except RelayError as error:
                if self._scene is None or not self._outcome.verdict:
                    raise
                self._fail(error)
            report = self._report(is_final=True)
            self._journal.row("report", report)
            return report

    def _fail(self, error: Exception) -> None:
        self._problem = self._problem or str(error)
        self._say(f"the run broke off: {error}")

    async def _play(self, stage: Stage, stop: asyncio.Event) -> None:
        scenario = self._scenario
        witness, handlers = Timeline(), Timeline()
        scene = Scene(stage, scenario.settings, self._outcome, witness, handlers, stop, self._say)
        stage.judge.witness.watcher, stage.judge.handlers.watcher = witness, handlers
        await self._outcome.refresh(stage)
        self._scene, self._started_at = scene, time.monotonic()
        watching = asyncio.create_task(watch_memory(stage, self._outcome), name="memory")
        try:
            await scene.start_traffic()
            self._say(f"streaming {scenario.settings.rate * scenario.settings.size.shards:g} dispatches/s")
            await scene.pause(WARM_UP_S)
            await self._rounds(scene, scenario)
        except RelayError as error:
            self._fail(error)
        finally:
            watching.cancel()
        await self._finish(scene, scenario)

    async def _rounds(self, scene: Scene, scenario: Scenario) -> None:
        await scenario.begin(scene)
        reported_at = time.monotonic()
        while not scene.stop.is_set() and not scenario.is_done:
            self._outcome.rounds += 1
            figures = await scenario.round(scene)
            self._journal.row("round", {"round": self._outcome.rounds, **figures})
            self._say(f"round {self._outcome.rounds}: {json.dumps(figures)}")
            if time.monotonic() - reported_at >= REPORT_INTERVAL_S:
                reported_at = time.monotonic()
                await self._outcome.refresh(scene.stage)
                self._journal.row("report", self._report(is_final=False))

    async def _finish(self, scene: Scene, scenario: Scenario) -> None:
        """The last words of everyone, as far as they can still be had."""
        stage, outcome = scene.stage, self._outcome
        outcome.duration_s = time.monotonic() - self._started_at
        try:
            outcome.is_complete = scenario.is_done
            await stage.simulator.stop_traffic()
            timeout_s = SETTLE_TIMEOUT_S if scene.stop.is_set() else LAST_SETTLE_S
            problem = await settle(stage, outcome, scenario.settings.size.shards, timeout_s=timeout_s)
            if problem:
                outcome.failed_rounds.append({"round": "the end", "problem": problem})
            await scenario.end(scene)
            await stage.cast.stop()
            await outcome.refresh(stage)
        except RelayError as error:
            self._fail(error)

    def _report(self, *, is_final: bool) -> dict[str, Any]:
        if self._scene is None:
            raise RuntimeError("there is nothing to report before the stage is set")
        scenario, outcome = self._scenario, self._outcome
        if not is_final:
            outcome.duration_s = time.monotonic() - self._started_at
        report = make_report(scenario.settings, outcome, self._scene.stage.judge)
        figures = scenario.figures(self._scene)
        broken = broken_bounds(scenario.bounds, {**report, **figures})
        if not scenario.is_done:
            broken.append("the run is not complete")
        if self._problem:
            broken.append(self._problem)
        head = {"run": self._settings.name, "count": self._settings.count, "is_final": is_final}
        passed = bool(report.pop("passed")) and not broken
        return {**head, **report, **figures, "bounds_broken": broken, "passed": passed}
