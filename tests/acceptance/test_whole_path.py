"""Simulated Discord, worker, RabbitMQ, consumer, a hikari bot: real processes, the simulator's ledger is the judge."""

from __future__ import annotations

import asyncio
import itertools
import signal
from typing import TYPE_CHECKING

from ops.supervisor import send_signal
from tests.acceptance.conftest import until

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage


async def test_promise_1_a_hand_over_loses_nothing_doubles_nothing_and_spends_no_identify(stage: Stage) -> None:
    await stage.start("--shards", "4", "--max-concurrency", "4", "--rate", "50")
    leaving = stage.fleet.add_worker("--shards", "0-3")
    await stage.connected(4)
    stage.fleet.add_worker("--shards", "auto")
    await until(lambda: _registered(stage, 2), "the stand-by is registered")
    await stage.fleet.supervisor.stop([leaving])
    await until(lambda: _resumes(stage, 4), "all sessions are resumed by the other worker")
    await asyncio.sleep(1)  # traffic over the new connections
    await stage.simulator.stop_traffic()

    result = await stage.handled()
    verdict = await stage.simulator.verdict()

    assert (result.lost, result.duplicated) == (0, 0), result.lost_by_type
    assert result.sent > 300
    assert (verdict["identifies"], verdict["violations"]) == (4, [])


async def test_promise_5_a_killed_consumer_loses_nothing(stage: Stage) -> None:
    await stage.start("--shards", "2", "--max-concurrency", "2", "--rate", "100")
    stage.fleet.add_worker("--shards", "0-1")
    await stage.connected(2)
    for victim in stage.fleet.consumers:
        await asyncio.sleep(0.5)  # in the middle of the traffic
        send_signal(victim, signal.SIGKILL)
        await until(lambda victim=victim: _restarted(victim), "the victim runs again")
        await stage.consuming(2)
    await stage.simulator.stop_traffic()

    result = await stage.handled()

    assert result.lost == 0, result.lost_by_type
    assert result.sent > 200


async def test_promise_1_a_killed_worker_is_followed_by_a_stand_by_that_resumes(stage: Stage) -> None:
    await stage.start("--shards", "2", "--max-concurrency", "2", "--rate", "50")
    victim = stage.fleet.add_worker("--shards", "0-1")
    await stage.connected(2)
    stage.fleet.add_worker("--shards", "0-1")
    await until(lambda: _registered(stage, 2), "the stand-by is registered")
    victim.stopping.set()  # not to be started again
    send_signal(victim, signal.SIGKILL)
    await until(lambda: _resumes(stage, 2), "the stand-by resumed both sessions")
    await asyncio.sleep(1)
    await stage.simulator.stop_traffic()

    result = await stage.handled()
    verdict = await stage.simulator.verdict()

    assert result.lost == 0, result.lost_by_type
    assert (verdict["identifies"], verdict["violations"]) == (2, [])


async def test_promise_1_a_worker_and_every_coordinator_killed_together_lose_nothing(stage: Stage) -> None:
    await stage.start("--shards", "2", "--max-concurrency", "2", "--rate", "50")
    victims = [stage.fleet.add_worker("--shards", "0-1"), *stage.fleet.coordinators]
    await stage.connected(2)
    await asyncio.sleep(1)  # traffic
    for victim in victims:
        victim.stopping.set()  # not to be started again
        send_signal(victim, signal.SIGKILL)
    for victim in victims:
        await victim.ended.wait()
    stage.fleet.add_coordinator()
    stage.fleet.add_worker("--shards", "0-1")
    await until(lambda: _resumes(stage, 2), "both sessions are resumed from their checkpoints")
    await asyncio.sleep(1)
    await stage.simulator.stop_traffic()

    result = await stage.handled()
    verdict = await stage.simulator.verdict()

    assert result.lost == 0, result.lost_by_type
    assert (verdict["identifies"], verdict["violations"]) == (2, [])


async def test_promise_4_a_killed_coordinator_changes_nothing_and_its_successor_learns_the_leases(stage: Stage) -> None:
    await stage.start("--shards", "2", "--max-concurrency", "2", "--rate", "50")
    stage.fleet.add_worker("--shards", "0-1")
    stage.fleet.add_worker("--shards", "0-1")
    await stage.connected(2)
    await until(lambda: _registered(stage, 2), "both workers are registered")
    (coordinator,) = stage.fleet.coordinators
    send_signal(coordinator, signal.SIGKILL)
    await until(lambda: _restarted(coordinator), "the coordinator runs again")
    await until(lambda: _said(stage, "granting from now on", count=2), "the successor leads")
    await asyncio.sleep(2.5)  # every worker has renewed with the successor
    await stage.simulator.stop_traffic()

    result = await stage.handled()
    verdict = await stage.simulator.verdict()

    assert (result.lost, result.duplicated) == (0, 0), result.lost_by_type
    assert (verdict["identifies"], verdict["resumes"], verdict["violations"]) == (2, 0, [])
    assert not stage.said("lease lost")


async def test_promise_4_a_stand_by_leads_when_the_leader_is_killed_and_no_shard_notices(stage: Stage) -> None:
    await stage.start("--shards", "2", "--max-concurrency", "2", "--rate", "50")
    stage.fleet.add_worker("--shards", "0-1")
    await stage.connected(2)
    leader = stage.fleet.coordinators[0]
    stage.fleet.add_coordinator()
    await until(lambda: _said(stage, "whoever gets the requests leads", count=2), "the stand-by is connected")
    leader.stopping.set()  # not to be started again
    send_signal(leader, signal.SIGKILL)
    await until(lambda: _said(stage, "granting from now on", count=2), "the stand-by leads")
    leaving = stage.fleet.workers[0]
    stage.fleet.add_worker("--shards", "0-1")
    await until(lambda: _registered(stage, 2), "a worker registered with the new leader")
    await stage.fleet.supervisor.stop([leaving])
    await until(lambda: _resumes(stage, 2), "the new leader handed both sessions over")
    await stage.simulator.stop_traffic()

    result = await stage.handled()
    verdict = await stage.simulator.verdict()

    assert (result.lost, result.duplicated) == (0, 0), result.lost_by_type
    assert (verdict["identifies"], verdict["violations"]) == (2, [])


async def test_promise_3_sixteen_shards_start_within_one_window_at_concurrency_16(stage: Stage) -> None:
    await stage.start("--shards", "16", "--max-concurrency", "16", consumer_count=0)
    stage.fleet.add_worker("--shards", "0-15")
    await stage.connected(16)
    ready_at = [at for _, event_type, at in await stage.simulator.ledger() if event_type == "READY"]

    assert max(ready_at) - min(ready_at) < 15.0  # one after another they would take 75 s
    assert (await stage.simulator.verdict())["violations"] == []


async def test_promise_3_shards_of_one_bucket_identify_5_s_apart_from_several_workers(stage: Stage) -> None:
    await stage.start("--shards", "4", "--max-concurrency", "1", consumer_count=0)
    stage.fleet.add_worker("--shards", "0-1")
    stage.fleet.add_worker("--shards", "2-3")
    await stage.connected(4, timeout_s=60)
    ready_at = sorted(at for _, event_type, at in await stage.simulator.ledger() if event_type == "READY")

    assert all(later - earlier >= 4.0 for earlier, later in itertools.pairwise(ready_at))
    assert (await stage.simulator.verdict())["violations"] == []


async def _registered(stage: Stage, count: int) -> bool:
    return len(stage.said("registered")) >= count


async def _resumes(stage: Stage, count: int) -> bool:
    return bool((await stage.simulator.verdict())["resumes"] >= count)


async def _restarted(child: object) -> bool:
    return bool(child.restart_count and child.pid)  # type: ignore[attr-defined]


async def _said(stage: Stage, text: str, *, count: int) -> bool:
    return len(stage.said(text)) >= count
