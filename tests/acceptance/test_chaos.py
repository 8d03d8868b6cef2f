"""A short fixed set of faults against real processes; `make chaos` plays as many as one likes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from ops.chaos.harness import Harness
from ops.chaos.report import MUST_BE_NONE, make_report
from ops.chaos.schedule import Kind, Size
from ops.chaos.settings import ChaosSettings

if TYPE_CHECKING:
    from pathlib import Path

SIZE = Size(shards=2, workers=3, consumers=2, coordinators=2)
FLEET = (Kind.KILL_WORKER, Kind.TERM_WORKER, Kind.KILL_CONSUMER, Kind.KILL_COORDINATOR)
DISCORD_AND_LINKS = (Kind.OP_7, Kind.OP_9_NEW_SESSION, Kind.CLOSE_ENDING, Kind.CUT_WORKER_LINK, Kind.CUT_CONSUMER_LINK)


@pytest.mark.timeout(120)
async def test_no_dispatch_is_lost_or_reordered_when_processes_die_singly_and_in_pairs(
    broker_url: str, tmp_path: Path
) -> None:
    report = await _play(
        ChaosSettings(seed=4, rounds=6, rate=50, kinds=FLEET, size=SIZE, amqp_url=broker_url), tmp_path
    )

    _expect_nothing_wrong(report)
    assert (report["forfeited"], report["identifies"]) == (0, 2)


@pytest.mark.timeout(120)
async def test_no_dispatch_is_lost_or_reordered_when_discord_and_links_misbehave(
    broker_url: str, tmp_path: Path
) -> None:
    kinds = DISCORD_AND_LINKS
    report = await _play(
        ChaosSettings(seed=5, rounds=5, rate=50, kinds=kinds, size=SIZE, amqp_url=broker_url), tmp_path
    )

    _expect_nothing_wrong(report)
    assert report["identifies"] > 2


async def _play(settings: ChaosSettings, directory: Path) -> dict[str, Any]:
    outcome, stage = await Harness(settings, directory / "chaos", print).run(asyncio.Event())
    report = make_report(settings, outcome, stage.judge)
    print(report)
    return report


def _expect_nothing_wrong(report: dict[str, Any]) -> None:
    assert {name: report[name] for name in MUST_BE_NONE if report[name]} == {}
    assert report["passed"]
    assert report["sent"] > 300
