"""Each opcode that Discord sends, by gw-sim: what the shard does next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway_workers import shard as shard_module
from gateway_workers.shard import ShardState
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.session.rig import Rig


async def test_an_identify_names_shard_and_intents_and_asks_first(rig: Rig) -> None:
    _, session = await rig.start_connected(shard=1, shard_count=2, intents=513)
    found = rig.session(session)
    assert (found["shard"], found["shard_count"], found["intents"]) == (1, 2, 513)
    assert rig.permits.asked == [False]
    await rig.all_arrived(session)
    assert rig.ids()[0] == f"{session}:1"
    rig.assert_no_violations()


async def test_op_1_is_answered_by_a_heartbeat_at_once(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    before = rig.heartbeats()
    rig.sim.fault("heartbeat_request", session=session)
    await eventually(lambda: rig.heartbeats() > before)
    await eventually(lambda: shard.held().latency_s is not None)
    rig.assert_no_violations()


async def test_op_7_is_followed_by_a_resume_that_loses_nothing(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    rig.sim.fault("reconnect", session=session)
    rig.send(20)
    await rig.connected(shard, established=2)
    await rig.all_arrived(session)
    assert (rig.counted("identifies"), rig.counted("resumes")) == (1, 1)
    assert rig.counted("resume_on_resume_host") == 1
    rig.assert_no_violations()


async def test_op_7_instead_of_hello_is_followed_by_another_try(rig: Rig) -> None:
    rig.sim.fault("reconnect", before_hello=True, count=2)
    _, session = await rig.start_connected()
    assert rig.counted("identifies") == 1
    assert rig.permits.asked == [False, False, False]
    await rig.all_arrived(session)
    rig.assert_no_violations()


async def test_op_7_instead_of_hello_on_a_resume_still_resumes(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    rig.sim.fault("reconnect", before_hello=True, count=2)
    rig.sim.fault("drop", session=session)
    rig.send(3)
    assert await rig.connected(shard, established=2) == session
    await rig.all_arrived(session)
    assert (rig.counted("identifies"), rig.counted("resumes")) == (1, 1)
    rig.assert_no_violations()


async def test_op_9_true_is_followed_by_a_resume(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    rig.sim.fault("invalid_session", resumable=True, session=session)
    rig.send(3)
    assert await rig.connected(shard, established=2) == session
    await rig.all_arrived(session)
    assert rig.counted("identifies") == 1
    rig.assert_no_violations()


async def test_op_9_false_is_followed_by_an_identify_at_the_general_url_that_asks_again(rig: Rig) -> None:
    shard, first = await rig.start_connected()
    rig.sim.fault("invalid_session", resumable=False, session=first)
    second = await rig.connected(shard, established=2)
    assert second != first
    await rig.all_arrived(first, second)
    assert rig.permits.asked == [False, True]
    assert (rig.counted("identifies"), rig.counted("resumes_refused")) == (2, 0)
    assert rig.counted("identify_on_resume_host") == 0
    rig.assert_no_violations()


async def test_after_op_9_false_the_dead_session_is_no_checkpoint_any_more(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    rig.permits.is_open.clear()
    rig.sim.fault("invalid_session", resumable=False, session=session)
    await eventually(lambda: len(rig.permits.asked) == 2)
    assert shard.checkpoint() is None
    assert await rig.hand_over(shard) is None
    rig.permits.is_open.set()


async def test_op_9_false_in_answer_to_a_resume_is_followed_by_an_identify(rig: Rig) -> None:
    shard, first = await rig.start_connected()
    rig.sim.fault("refuse_resume", count=1)
    rig.sim.fault("drop", session=first)
    second = await rig.connected(shard, established=2)
    assert second != first
    assert (rig.counted("identifies"), rig.counted("resumes_refused")) == (2, 1)
    assert rig.counted("identify_on_resume_host") == 0
    rig.assert_no_violations()


@pytest.mark.parametrize("op", [0, 2, 3, 6, 8, 12, 99])
async def test_an_opcode_that_means_nothing_to_us_changes_nothing(rig: Rig, op: int) -> None:
    shard, session = await rig.start_connected()
    rig.sim.fault("malformed_frame", text=f'{{"t":null,"s":null,"op":{op},"d":null}}', session=session)
    rig.send(3)
    await rig.all_arrived(session)
    assert shard.state is ShardState.CONNECTED
    assert (rig.counted("resumes"), rig.counted("identifies")) == (0, 1)


async def test_a_withheld_ready_is_no_loop_of_identifies(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "READY_TIMEOUT_S", 0.3)
    rig.sim.fault("missing_ready", seconds=2.5)
    shard = rig.start()
    await rig.connected(shard)
    # 0.3 s each, and waits of 0.05, 0.1, 0.2, 0.4, 0.8 s between them, each up to half as long again: not 9
    assert 3 <= rig.counted("identifies") <= 7
    assert len(rig.permits.asked) == rig.counted("identifies")
    rig.assert_no_violations()


async def test_an_identify_waits_for_a_permit_that_is_still_valid(rig: Rig) -> None:
    rig.permits.expired_count = 3
    _, session = await rig.start_connected()
    assert len(rig.permits.asked) == 4
    assert rig.counted("identifies") == 1
    await rig.all_arrived(session)


async def test_a_resume_never_waits_for_a_permit(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    rig.permits.is_open.clear()
    rig.sim.fault("drop", session=session)
    assert await rig.connected(shard, established=2) == session
    assert len(rig.permits.asked) == 1
    rig.permits.is_open.set()


async def test_a_defect_in_one_connection_ends_that_connection_and_not_the_shard(rig: Rig) -> None:
    rig.permits.defects.append(ZeroDivisionError("a defect"))
    _, session = await rig.start_connected()
    assert rig.permits.asked == [False, False]
    await rig.all_arrived(session)
