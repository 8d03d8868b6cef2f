"""A short fixed set of faults against real processes; `make chaos` plays as many as one likes."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from ops.chaos.harness import Harness
from ops.chaos.reliability.runner import Runner
from ops.chaos.reliability.settings import ReliabilitySettings
from ops.chaos.report import MUST_BE_NONE, make_report
from ops.chaos.schedule import Kind, Size
from ops.chaos.settings import ChaosSettings

if TYPE_CHECKING:
    from pathlib import Path

SIZE = Size(shards=2, workers=3, consumers=2, coordinators=2)
FLEET = (Kind.KILL_WORKER, Kind.TERM_WORKER, Kind.KILL_CONSUMER, Kind.KILL_COORDINATOR)
OF_A_QUIET_MACHINE = re.compile(r"\w+(_ms|_s|_rate|_ratio|_share) is ")
"""Bounds on times and rates are for a machine with nothing else to do."""
DISCORD_AND_LINKS = (Kind.OP_7, Kind.OP_9_NEW_SESSION, Kind.CLOSE_ENDING, Kind.CUT_WORKER_LINK, Kind.CUT_CONSUMER_LINK)


async def test_no_dispatch_is_lost_or_reordered_when_processes_die_singly_and_in_pairs(
    broker_url: str, tmp_path: Path
) -> None:
    report = await _play(
        ChaosSettings(seed=4, rounds=6, rate=50, kinds=FLEET, size=SIZE, amqp_url=broker_url), tmp_path
    )

    _expect_nothing_wrong(report)
    assert (report["forfeited"], report["identifies"]) == (0, 2)


async def test_no_dispatch_is_lost_or_reordered_when_discord_and_links_misbehave(
    broker_url: str, tmp_path: Path
) -> None:
    kinds = DISCORD_AND_LINKS
    report = await _play(
        ChaosSettings(seed=5, rounds=5, rate=50, kinds=kinds, size=SIZE, amqp_url=broker_url), tmp_path
    )

    _expect_nothing_wrong(report)
    assert report["identifies"] > 2


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_no_dispatch_is_lost_or_reordered_when_workers_freeze_and_the_broker_dies(tmp_path: Path) -> None:
    kinds = (Kind.FREEZE_WORKER, Kind.PAUSE_COORDINATOR, Kind.HALF_OPEN_WORKER_LINK, Kind.KILL_BROKER)
    report = await _play(ChaosSettings(seed=6, rounds=4, rate=50, kinds=kinds, size=SIZE), tmp_path)

    _expect_nothing_wrong(report)


@pytest.mark.long
@pytest.mark.parametrize(("name", "count"), [("hand_overs", 2), ("coordinator_kills", 2), ("freezes", 4)])
async def test_a_short_reliability_run_measures_what_a_long_one_does(
    name: str, count: int, broker_url: str, tmp_path: Path
) -> None:
    settings = ReliabilitySettings(name, count=count, rate=80, amqp_url=broker_url)

    report = await Runner(settings, tmp_path, print).run(asyncio.Event())

    _expect_nothing_wrong({**report, "passed": True})
    broken = [sentence for sentence in report["bounds_broken"] if not OF_A_QUIET_MACHINE.match(sentence)]
    assert broken == []
    rows = [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["row"] for row in rows] == ["start", "round", "round", "report"]
    assert rows[-1]["is_final"]


@pytest.mark.long
async def test_a_run_that_is_told_to_stop_reports_what_it_measured(broker_url: str, tmp_path: Path) -> None:
    stop = asyncio.Event()
    settings = ReliabilitySettings("worker_kills", count=1_000, rate=80, amqp_url=broker_url)

    report = await Runner(settings, tmp_path, lambda text: stop.set() if "round 1:" in text else None).run(stop)

    assert {name: report[name] for name in MUST_BE_NONE if report[name]} == {}
    assert (report["kills"], report["passed"]) == (1, False)
    assert report["takeover_p50_s"] > 0
    assert report["bounds_broken"][-1] == "the run is not complete"


async def _play(settings: ChaosSettings, directory: Path) -> dict[str, Any]:
    outcome, stage = await Harness(settings, directory / "chaos", print).run(asyncio.Event())
    report = make_report(settings, outcome, stage.judge)
    print(report)
    return report


def _expect_nothing_wrong(report: dict[str, Any]) -> None:
    assert {name: report[name] for name in MUST_BE_NONE if report[name]} == {}
    assert report["passed"]
    assert report["sent"] > 300
