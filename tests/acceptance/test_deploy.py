"""Replacing all consumers one by one: the short, slow-machine version of `python -m benchmarks.deploy`."""

from __future__ import annotations

import pytest

from benchmarks import deploy
from benchmarks.running_broker import RunningBroker
from ops.chaos.reliability.bounds import broken_bounds


@pytest.mark.timeout(300)
async def test_promise_every_interaction_is_answered_once_while_all_consumers_are_replaced(broker_url: str) -> None:
    any_age = {"GW_MAX_INTERACTION_AGE": "0"}  # a slow machine answers late, which is not what this is about
    figures = await deploy.measure(RunningBroker(broker_url), seconds=3, interactions=40, messages=80, changes=any_age)
    assert not broken_bounds(deploy.CORRECT, figures), figures
    assert figures["consumers_replaced"] == 2
    assert figures["interactions"] > 50, figures
