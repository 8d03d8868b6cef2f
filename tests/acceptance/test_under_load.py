"""What must hold beside handlers under load: short versions of `python -m benchmarks.deploy` and others."""

from __future__ import annotations

import pytest

from benchmarks import deploy, interaction_lane
from benchmarks.running_broker import RunningBroker
from ops.chaos.reliability.bounds import broken_bounds


async def test_promise_5_every_interaction_is_answered_once_while_all_consumers_are_replaced(broker_url: str) -> None:
    any_age = {"GW_MAX_INTERACTION_AGE": "0"}  # a slow machine answers late, which is not what this is about
    figures = await deploy.measure(RunningBroker(broker_url), seconds=3, interactions=40, messages=80, changes=any_age)
    assert not broken_bounds(deploy.CORRECT, figures), figures
    assert figures["consumers_replaced"] == 2
    assert figures["interactions"] > 50, figures


@pytest.mark.long
async def test_promise_5_a_flood_of_messages_delays_no_interaction(broker_url: str) -> None:
    figures = await interaction_lane.measure(RunningBroker(broker_url), seconds=5, messages=4000)
    assert (figures["lost"], figures["unanswered"]) == (0, 0), figures
    backlog_s = figures["messages_waiting_at_the_end"] / figures["handled_per_s"]
    assert backlog_s > 2, figures
    assert figures["to_handler_p99_ms"] < 1000 * backlog_s / 2, figures
