"""Shards move between running workers: real processes, `gw-ctl` as an operator calls it, the ledger is the judge."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient
from eventbus.coordinator_client import CoordinatorClient
from eventbus.messages import FleetState, StateRequest
from eventbus.names import Names
from ops.fleet import program
from ops.supervisor import send_signal
from tests.acceptance.conftest import until

if TYPE_CHECKING:
    from ops.supervisor import Child
    from tests.acceptance.conftest import Stage

PATIENCE_S = 60


async def gw_ctl(stage: Stage, *arguments: str) -> tuple[int, str]:
    """The exit code of `gw-ctl`, and all that it said."""
    process = await asyncio.create_subprocess_exec(
        program("gw-ctl"),
        *arguments,
        env={**os.environ, **stage.fleet.environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE_S):
        output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def state(stage: Stage) -> FleetState:
    """The fleet as the coordinator knows it."""
    environment = stage.fleet.environment
    link = Link(Broker(environment["AMQP_URL"]), name="test")
    client = CoordinatorClient(RpcClient(link), Names(environment["GW_NAMESPACE"]))
    await link.open(timeout_s=PATIENCE_S)
    try:
        return await client.call_until(StateRequest(), FleetState, timeout_s=PATIENCE_S)
    finally:
        await link.close()


def name_of(worker_id: str) -> str:
    """The worker id as it was given; the process adds its own mark."""
    return worker_id.rpartition("-")[0]


async def full_id(stage: Stage, name: str) -> str:
    return next(worker.worker_id for worker in (await state(stage)).workers if name_of(worker.worker_id) == name)


async def holding(stage: Stage, expected: dict[str, int]) -> None:
    """Wait until the workers run just so many shards, connected."""

    async def is_so() -> bool:
        shards = (await state(stage)).shards
        return Counter(name_of(one.worker_id or "") for one in shards if one.state == "connected") == expected

    await until(is_so, f"the workers hold {expected}", timeout_s=PATIENCE_S)


async def two_workers(stage: Stage, *, shards: int = 4) -> tuple[Child, Child]:
    """Worker `a` holds all shards, worker `b` is idle; traffic flows."""
    await stage.start("--shards", str(shards), "--max-concurrency", "16", "--rate", "50")
    a = stage.fleet.add_worker("--shards", "auto", "--worker-id", "a")
    await stage.connected(shards)
    b = stage.fleet.add_worker("--shards", "auto", "--worker-id", "b")
    await until(lambda: _said(stage, "registered", 2), "the second worker is registered")
    await holding(stage, {"a": shards})
    return a, b


async def assert_nothing_lost(stage: Stage, *, identifies: int, may_double: bool = False) -> None:
    await asyncio.sleep(1)  # traffic over the new connections
    await stage.simulator.stop_traffic()
    result = await stage.handled()
    verdict = await stage.simulator.verdict()
    assert result.lost == 0, result.lost_by_type
    assert may_double or result.duplicated == 0
    assert result.sent > 100
    assert (verdict["identifies"], verdict["violations"]) == (identifies, [])


async def test_shards_move_to_a_worker_that_joins_without_loss_double_or_identify(stage: Stage) -> None:
    stage.fleet.environment["GW_REBALANCE_AFTER"] = "3"
    await stage.start("--shards", "4", "--max-concurrency", "16", "--rate", "50")
    stage.fleet.add_worker("--shards", "auto", "--worker-id", "a")
    await stage.connected(4)
    stage.fleet.add_worker("--shards", "auto", "--worker-id", "b")
    await holding(stage, {"a": 2, "b": 2})

    assert (await stage.simulator.verdict())["resumes"] == 2
    assert not stage.said("lease lost")
    await assert_nothing_lost(stage, identifies=4)


@pytest.mark.long
async def test_drain_empties_a_running_worker_and_rebalance_fills_it_again(stage: Stage) -> None:
    await two_workers(stage)

    code, said = await gw_ctl(stage, "drain", await full_id(stage, "a"))
    assert code == 0, said
    assert re.search(r"worker a-\w+ holds nothing: 4 shards moved", said), said
    await holding(stage, {"b": 4})
    code, said = await gw_ctl(stage, "rebalance")
    assert (code, "nothing to move" in said) == (0, True), said  # a drained worker gets nothing
    code, said = await gw_ctl(stage, "undrain", await full_id(stage, "a"))
    assert code == 0, said
    code, said = await gw_ctl(stage, "rebalance")
    assert code == 0, said
    assert len(re.findall(r"shard \d: b-\w+ -> a-", said)) == 2, said
    await holding(stage, {"a": 2, "b": 2})

    assert (await stage.simulator.verdict())["resumes"] == 6
    assert not stage.said("lease lost")
    await assert_nothing_lost(stage, identifies=4)


@pytest.mark.long
async def test_drain_says_which_shards_nobody_takes_and_leaves_them_where_they_are(stage: Stage) -> None:
    await stage.start("--shards", "3", "--max-concurrency", "16", "--rate", "50")
    stage.fleet.add_worker("--shards", "auto", "--worker-id", "a")
    await stage.connected(3)
    code, said = await gw_ctl(stage, "drain", "nobody")
    assert code == 1
    assert "there is no worker nobody; registered are: a-" in said
    stage.fleet.add_worker("--shards", "1-2", "--capacity", "1", "--worker-id", "b")
    await until(lambda: _said(stage, "registered", 2), "the second worker is registered")

    code, said = await gw_ctl(stage, "drain", await full_id(stage, "a"))

    assert code == 1
    assert re.search(r"worker a-\w+ still holds shards 0,2: no other worker takes them", said), said
    await holding(stage, {"a": 2, "b": 1})
    assert (await stage.simulator.verdict())["resumes"] == 1
    await assert_nothing_lost(stage, identifies=3)


@pytest.mark.long
async def test_a_giver_killed_in_the_middle_of_a_hand_over_loses_nothing(stage: Stage) -> None:
    giver, _ = await two_workers(stage)
    worker_id = await full_id(stage, "a")
    draining = asyncio.create_task(gw_ctl(stage, "drain", worker_id), name="drain")
    await until(lambda: _said(stage, "asking for a hand-over", 1), "the giver was asked")
    giver.stopping.set()  # not to be started again
    send_signal(giver, signal.SIGKILL)
    code, said = await draining

    assert code == 0, said
    await holding(stage, {"b": 4})
    await assert_nothing_lost(stage, identifies=4, may_double=True)


@pytest.mark.long
async def test_a_receiver_killed_in_the_middle_of_a_hand_over_loses_nothing(stage: Stage) -> None:
    _, receiver = await two_workers(stage)
    rebalancing = asyncio.create_task(gw_ctl(stage, "rebalance"), name="rebalance")
    await until(lambda: _said(stage, "handed over", 1), "a shard is on its way")
    receiver.stopping.set()  # not to be started again
    send_signal(receiver, signal.SIGKILL)
    await rebalancing
    await holding(stage, {"a": 4})

    await assert_nothing_lost(stage, identifies=4, may_double=True)


async def _said(stage: Stage, text: str, count: int) -> bool:
    return len(stage.said(text)) >= count
