"""Hand-over, takeover, loss of a lease: one session, several holders, nothing lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from eventbus.messages import Session
from gateway_workers import gateway_socket, reconnect
from gateway_workers import shard as shard_module
from gateway_workers.shard import ShardState
from tests.session.rig import INTENTS
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.session.rig import Rig


def start_traffic(rig: Rig, *, rate: float = 500, total: int | None = None) -> None:
    rig.sim.post("/traffic", {"rate": rate, "mix": "messages", "total": total})


def stop_traffic(rig: Rig) -> None:
    rig.sim.delete("/traffic")


async def test_planned_hand_overs_under_traffic_lose_nothing_and_repeat_nothing(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    start_traffic(rig)
    for _ in range(4):
        so_far = len(rig.arrived)
        await eventually(lambda so_far=so_far: len(rig.arrived) >= so_far + 300)  # type: ignore[misc]
        handed = await rig.hand_over(shard)
        assert handed is not None
        assert handed.intents == INTENTS
        await eventually(lambda seq=handed.seq: f"{session}:{seq}" in rig.ids())  # type: ignore[misc]
        assert max(int(one.rpartition(":")[2]) for one in rig.ids()) == handed.seq
        shard, same = await rig.start_connected(handed)
        assert same == session
    stop_traffic(rig)
    await rig.all_arrived(session)
    assert rig.repeated() == []
    assert (rig.counted("identifies"), rig.counted("resumes")) == (1, 4)
    tokens = [int(str(message.headers["fencing_token"])) for message in rig.arrived]
    assert tokens == sorted(tokens)
    rig.assert_no_violations()


async def test_what_happened_between_two_holders_is_marked_as_replayed_and_nothing_else_is(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    handed = await rig.hand_over(shard)
    rig.send(10)
    shard, _ = await rig.start_connected(handed)
    rig.send(10)
    await rig.all_arrived(session)
    assert [message.headers["replayed"] for message in rig.of_type("TEST_EVENT")] == [True] * 10 + [False] * 10


async def test_after_a_kill_nothing_is_lost_and_what_comes_twice_is_marked(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    start_traffic(rig)
    await eventually(lambda: len(rig.arrived) > 200)
    checkpoint = shard.checkpoint()
    assert checkpoint is not None
    await eventually(lambda: len(rig.arrived) > 500)
    rig.running.pop(shard).cancel()
    stop_traffic(rig)
    await rig.start_connected(checkpoint)
    await rig.all_arrived(session)
    repeated = {int(one.rpartition(":")[2]) for one in rig.repeated()}
    assert repeated
    assert min(repeated) == checkpoint.seq + 1
    assert rig.counted("identifies") == 1
    rig.assert_no_violations()


async def test_a_checkpoint_from_before_ready_replays_the_whole_session_marked(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    rig.send(5)
    await rig.all_arrived(session)
    handed = await rig.hand_over(shard)
    assert handed is not None
    before = len(rig.arrived)
    await rig.start_connected(handed.model_copy(update={"seq": 0}))
    rig.send(1)
    await rig.all_arrived(session)
    again = rig.arrived[before:]
    assert again[0].type == "READY"
    replayed = [message.headers["replayed"] for message in again]
    assert replayed[:-2] == [True] * (len(again) - 2)
    assert again[-2].type == "RESUMED"
    assert replayed[-1] is False
    rig.assert_no_violations()


async def test_the_checkpoint_never_names_a_seq_that_is_not_in_the_queue(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    start_traffic(rig, rate=3000)
    for _ in range(30):
        checkpoint = shard.checkpoint()
        assert checkpoint is not None
        await eventually(lambda seq=checkpoint.seq: f"{session}:{seq}" in rig.ids())  # type: ignore[misc]
    stop_traffic(rig)
    await rig.all_arrived(session)


async def test_a_session_of_another_shard_count_is_not_resumed(rig: Rig) -> None:
    shard, first = await rig.start_connected()
    handed = await rig.hand_over(shard)
    _, second = await rig.start_connected(handed, shard=0, shard_count=2)
    assert second != first
    assert rig.counted("resumes") == 0


async def test_an_expired_session_is_followed_by_an_identify_as_recovery(rig: Rig) -> None:
    shard, first = await rig.start_connected()
    handed = await rig.hand_over(shard)
    rig.sim.fault("expire_sessions", session=first)
    _, second = await rig.start_connected(handed)
    assert second != first
    assert rig.permits.asked == [False, True]
    rig.assert_no_violations()


async def test_a_lost_lease_publishes_nothing_more_and_leaves_the_session_to_its_successor(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    start_traffic(rig)
    await eventually(lambda: len(rig.arrived) > 100)
    checkpoint = shard.checkpoint()
    async with asyncio.timeout(10):
        await shard.abandon()
    await rig.end(shard)
    stop_traffic(rig)
    assert rig.session(session)["state"] == "disconnected"
    await rig.start_connected(checkpoint)
    await rig.all_arrived(session)
    tokens = [int(str(message.headers["fencing_token"])) for message in rig.arrived]
    assert tokens == sorted(tokens)
    rig.assert_no_violations()


async def test_a_session_that_was_never_used_is_handed_on_as_it_came(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "STOP_TIMEOUT_S", 0.3)
    shard, _ = await rig.start_connected()
    handed = await rig.hand_over(shard)
    rig.sim.fault("resume_host", mode="hang")
    successor = rig.start(handed)
    await eventually(lambda: successor.state is ShardState.CONNECTING)
    assert await rig.hand_over(successor) == handed


# Stopping at every moment


async def test_a_stop_while_a_permit_is_awaited_ends_at_once_and_asks_no_more(rig: Rig) -> None:
    rig.permits.is_open.clear()
    shard = rig.start()
    await eventually(lambda: rig.permits.asked)
    async with asyncio.timeout(1):
        assert await rig.hand_over(shard) is None
    assert shard.state is ShardState.CLOSED
    assert rig.permits.cancelled_count == 1
    rig.permits.is_open.set()
    assert rig.counted("identifies") == 0


@pytest.mark.parametrize("mode", ["hang", "refuse", "503"])
async def test_a_stop_while_connecting_leaves_no_task_that_identifies_later(
    rig: Rig, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "STOP_TIMEOUT_S", 0.3)
    monkeypatch.setattr(gateway_socket, "OPEN_TIMEOUT_S", 5.0)
    rig.sim.fault("gateway_host", mode=mode)
    before = set(asyncio.all_tasks())
    shard = rig.start()
    await eventually(lambda: shard.state is ShardState.CONNECTING)
    async with asyncio.timeout(3):
        assert await rig.hand_over(shard) is None
    rig.sim.fault("gateway_host", mode="ok")
    await eventually(lambda: not [task for task in asyncio.all_tasks() - before if "shard" in task.get_name()])
    assert rig.counted("identifies") == 0


async def test_a_stop_while_ready_is_awaited_closes_resumably(rig: Rig) -> None:
    rig.sim.fault("missing_ready", seconds=30)
    shard = rig.start()
    await eventually(lambda: shard.state is ShardState.IDENTIFYING and rig.counted("identifies") == 1)
    async with asyncio.timeout(3):
        assert await rig.hand_over(shard) is None
    await eventually(lambda: rig.counted("client_closed_4900") == 1)


async def test_a_stop_during_a_wait_between_attempts_ends_at_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_workers.reconnect.FIRST_WAIT_S", 30.0)
    rig.sim.fault("gateway_host", mode="refuse")
    shard = rig.start()
    await eventually(lambda: shard.state is ShardState.CONNECTING)
    async with asyncio.timeout(2):
        assert await rig.hand_over(shard) is None


async def test_a_stop_before_the_task_ran_ends_it(rig: Rig) -> None:
    shard = rig.start()
    async with asyncio.timeout(2):
        assert await rig.hand_over(shard) is None
    assert rig.permits.asked == []


async def test_a_shard_that_was_handed_over_closed_with_a_code_that_keeps_the_session(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    handed = await rig.hand_over(shard)
    assert isinstance(handed, Session)
    assert rig.session(session)["state"] == "disconnected"
    assert rig.counted("client_closed_4900") == 1
    rig.assert_no_violations()


async def test_sessions_that_end_as_soon_as_they_begin_make_no_tight_loop(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconnect, "STABLE_S", 30.0)  # on a slow machine they live for more than a second
    shard, session = await rig.start_connected()
    for round_ in range(4):
        rig.sim.fault("drop", session=session)
        await rig.connected(shard, established=round_ + 2)
    started = asyncio.get_running_loop().time()
    rig.sim.fault("drop", session=session)
    await rig.connected(shard, established=6)
    # 0.02 s at first, doubled each time
    assert asyncio.get_running_loop().time() - started >= 0.02 * 2**3
    await rig.all_arrived(session)
