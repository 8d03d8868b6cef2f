"""What happens to a broker, as real workers see it: alarms, a half-open link, things deleted, frames too large."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from typing import TYPE_CHECKING

import aio_pika
import aiohttp
import pytest

from eventbus.amqp.rpc import is_bound
from eventbus.names import Names
from ops.broker_node import BrokerNode
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.supervisor import Supervisor, send_signal
from tests.acceptance.conftest import Stage, until
from tests.forge import launch
from tests.tcp_proxy import tcp_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

SHARDS = ("--shards", "2", "--max-concurrency", "2", "--large-guilds", "0")
TROUBLE_S = 90.0


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[BrokerNode]:
    """A broker of the test's own: an alarm stops every publisher on it."""
    async with BrokerNode(tmp_path / "node") as started:
        yield started


@pytest.fixture
async def stage(node: BrokerNode, namespace: str, tmp_path: Path) -> AsyncIterator[Stage]:
    lines: list[str] = []
    records = tmp_path / "records"
    records.mkdir()
    environment = {
        "AMQP_URL": node.url,
        "DISCORD_TOKEN": SIMULATOR_TOKEN,
        "GW_NAMESPACE": namespace,
        "GW_INTENTS": "ALL",
        "GW_MAX_INTERACTION_AGE": "0",  # late ones are handled too: what is skipped would count as lost
        "RECORD_DIR": str(records),
    }
    async with contextlib.AsyncExitStack() as stack:
        supervisor = await stack.enter_async_context(
            Supervisor(lambda name, line: lines.append(f"{name} | {line}"), lines.append, launch)
        )
        made = Stage(Fleet(supervisor, environment), node.url, records, lines)
        yield made
        await made.fleet.drain()
        if hasattr(made, "simulator"):
            await made.simulator.__aexit__(None, None, None)
    sys.stdout.write("\n".join(lines[-200:]))


@pytest.mark.parametrize(
    ("alarm", "calm"),
    [
        (("set_vm_memory_high_watermark", "0.0001"), ("set_vm_memory_high_watermark", "0.4")),
        pytest.param(("set_disk_free_limit", "900000GB"), ("set_disk_free_limit", "50MB"), marks=pytest.mark.long),
    ],
    ids=["memory", "disk"],
)
async def test_promise_6_an_alarm_closes_resumably_past_the_bound_and_loses_nothing(
    stage: Stage, node: BrokerNode, alarm: tuple[str, ...], calm: tuple[str, ...]
) -> None:
    await stage.start(*SHARDS, "--rate", "50")
    stage.fleet.add_worker("--shards", "0-1", "--window-count", "100")
    await stage.connected(2)
    await node.ctl(*alarm)
    await until(lambda: _noted(stage, "client_closed_4900", 2), "both shards stopped reading", timeout_s=TROUBLE_S)
    resumes = (await stage.simulator.verdict())["resumes"]
    await asyncio.sleep(2)  # while the alarm lasts nobody connects
    assert (await stage.simulator.verdict())["resumes"] == resumes
    await node.ctl(*calm)
    await until(lambda: _resumed(stage, 2), "both sessions are resumed", timeout_s=TROUBLE_S)
    await stage.simulator.stop_traffic()

    result = await stage.handled(timeout_s=TROUBLE_S)
    verdict = await stage.simulator.verdict()

    assert result.lost == 0, result.lost_by_type
    assert (verdict["identifies"], verdict["violations"]) == (2, [])


async def test_promise_2_a_half_open_link_is_followed_by_one_resume_of_each_session(
    stage: Stage, node: BrokerNode
) -> None:
    await stage.start(*SHARDS, "--rate", "50")
    async with tcp_proxy(node.url) as proxy:
        stage.fleet.environment["AMQP_URL"] = proxy.url(node.url)
        old = stage.fleet.add_worker("--shards", "0-1")
        await stage.connected(2)
        stage.fleet.environment["AMQP_URL"] = node.url
        stage.fleet.add_worker("--shards", "0-1")
        await until(lambda: _said(stage, "registered", 2), "the stand-by is registered")
        proxy.stall()
        await until(lambda: _resumed(stage, 2), "the stand-by resumed both sessions", timeout_s=TROUBLE_S)
        await asyncio.sleep(5)  # the old holder would have had its session back many times
        proxy.resume()
        await until(lambda: _said(stage, "lease lost", 2), "the old holder learned it", timeout_s=TROUBLE_S)
        await stage.simulator.stop_traffic()

        result = await stage.handled(timeout_s=TROUBLE_S)
        verdict = await stage.simulator.verdict()
        await stage.fleet.supervisor.stop([old])

    assert result.lost == 0, result.lost_by_type
    assert (verdict["identifies"], verdict["resumes"], verdict["violations"]) == (2, 2, [])


@pytest.mark.long
async def test_a_deleted_proof_of_life_comes_back_before_the_worker_is_taken_for_dead(
    stage: Stage, node: BrokerNode, namespace: str
) -> None:
    await stage.start(*SHARDS, "--rate", "50")
    stage.fleet.add_worker("--shards", "0-1")
    await stage.connected(2)
    queues = (await node.ctl("list_queues", "name", "--no-table-headers")).split()
    (proof,) = [queue for queue in queues if queue.startswith(f"{namespace}.worker.")]
    await node.ctl("delete_queue", proof)
    await until(lambda: _said(stage, "publishing connection is back", 1), "it is back", timeout_s=TROUBLE_S)
    await stage.simulator.stop_traffic()

    result = await stage.handled(timeout_s=TROUBLE_S)
    verdict = await stage.simulator.verdict()

    assert result.lost == 0, result.lost_by_type
    assert (verdict["identifies"], verdict["resumes"], verdict["violations"]) == (2, 0, [])
    assert not stage.said("lease lost")


@pytest.mark.long
async def test_a_deleted_inbox_comes_back_with_its_bindings_and_nothing_is_disturbed(
    stage: Stage, node: BrokerNode, namespace: str
) -> None:
    names = Names(namespace)
    await stage.start(*SHARDS, consumer_count=0)
    stage.fleet.add_worker("--shards", "0-1")
    await stage.connected(2)
    queues = (await node.ctl("list_queues", "name", "--no-table-headers")).split()
    (inbox,) = [queue for queue in queues if queue.startswith(f"{namespace}.inbox.")]
    await node.ctl("delete_queue", inbox)
    async with await aio_pika.connect(node.url, timeout=30) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.exchange_delete(names.shard)
        await channel.exchange_delete(names.control)

        async def holders_are_bound() -> bool:
            await channel.declare_exchange(names.shard, type="direct", durable=True)
            return all([await is_bound(channel, names.shard, shard) for shard in ("0", "1")])

        await until(holders_are_bound, "commands reach the holder", timeout_s=TROUBLE_S)
    verdict = await stage.simulator.verdict()
    assert (verdict["identifies"], verdict["resumes"], verdict["violations"]) == (2, 0, [])


async def test_promise_7_a_frame_larger_than_the_broker_takes_is_refused_and_the_others_go_on(
    stage: Stage, node: BrokerNode
) -> None:
    await node.ctl("eval", "application:set_env(rabbit, max_message_size, 600000).")
    await stage.start(*SHARDS, "--rate", "50")
    stage.fleet.add_worker("--shards", "0-1")
    await stage.connected(2)
    for shard in (0, 1, 0):
        await _dispatch(stage, shard, "x" * 700_000)
    await until(lambda: _said(stage, "larger than RabbitMQ takes", 1), "it is said", timeout_s=TROUBLE_S)
    await until(lambda: _said(stage, "publishing connection is back", 1), "it is back", timeout_s=TROUBLE_S)
    await _dispatch(stage, 1, "x" * 700_000)
    await asyncio.sleep(3)  # traffic goes on
    await stage.simulator.stop_traffic()

    async def all_others_are_handled() -> bool:
        return set((await stage.handled(timeout_s=0)).lost_by_type) == {"TEST_EVENT"}

    await until(all_others_are_handled, "all but what is too large is handled", timeout_s=TROUBLE_S)
    assert len(stage.said("larger than RabbitMQ takes")) == 1  # it is said at each connection that one costs
    assert (await stage.simulator.verdict())["violations"] == []


@pytest.mark.long
async def test_a_worker_that_is_stopped_without_its_broker_ends_soon_and_says_what_it_leaves(
    stage: Stage, node: BrokerNode
) -> None:
    await stage.start(*SHARDS, "--rate", "50", consumer_count=0)
    worker = stage.fleet.add_worker("--shards", "0-1")
    await stage.connected(2)
    await node.kill()
    await asyncio.sleep(4)  # a few dispatches wait for it
    asked_at = time.monotonic()
    await stage.fleet.supervisor.stop([worker], timeout_s=60)

    assert time.monotonic() - asked_at < 25  # three time-outs in a row took 25 to 36 s
    (sentence,) = stage.said("not handed over")
    assert "shards=0-1" in sentence
    assert "unconfirmed=0" not in sentence
    assert len([line for line in stage.said("no coordinator answers") if line.startswith("worker")]) <= 1
    assert not {"client_closed_1000", "client_closed_1001"} & set((await stage.simulator.verdict())["notes"])


async def test_promise_1_a_worker_every_coordinator_and_the_broker_killed_together_lose_nothing(
    stage: Stage, node: BrokerNode
) -> None:
    await stage.start(*SHARDS, "--rate", "50")
    victims = [stage.fleet.add_worker("--shards", "0-1"), *stage.fleet.coordinators]
    await stage.connected(2)
    await asyncio.sleep(1)  # traffic
    for victim in victims:
        victim.stopping.set()  # not to be started again
        send_signal(victim, signal.SIGKILL)
    await node.kill()
    for victim in victims:
        await victim.ended.wait()
    await node.start()
    stage.fleet.add_coordinator()
    stage.fleet.add_worker("--shards", "0-1")
    await until(lambda: _resumed(stage, 2), "both sessions are resumed from their checkpoints", timeout_s=TROUBLE_S)
    await asyncio.sleep(1)
    await stage.simulator.stop_traffic()

    result = await stage.handled(timeout_s=TROUBLE_S)
    verdict = await stage.simulator.verdict()

    assert result.lost == 0, result.lost_by_type
    assert (verdict["identifies"], verdict["violations"]) == (2, [])


async def _dispatch(stage: Stage, shard: int, filler: str) -> None:
    assert stage.fleet.simulator is not None
    url = f"{stage.fleet.simulator.control_url}/dispatch"
    body = {"type": "TEST_EVENT", "shard": shard, "data": {"filler": filler}}
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as response:
        assert response.ok, await response.text()


async def _noted(stage: Stage, note: str, count: int) -> bool:
    return int((await stage.simulator.verdict())["notes"].get(note, 0)) >= count


async def _resumed(stage: Stage, count: int) -> bool:
    return int((await stage.simulator.verdict())["resumes"]) >= count


async def _said(stage: Stage, text: str, count: int) -> bool:
    return len(stage.said(text)) >= count
