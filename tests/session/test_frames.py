"""Frames of every form: passed on as they came, each once; what is broken is counted and loses nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import orjson
import pytest

from gateway_workers import shard as shard_module
from gateway_workers.shard import ShardState
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.session.rig import Rig


async def test_the_body_is_the_whole_frame_and_the_headers_tell_where_it_came_from(rig: Rig) -> None:
    shard, session = await rig.start_connected(shard=0, shard_count=1)
    rig.send(1)
    await eventually(lambda: rig.of_type("TEST_EVENT"))
    message = rig.of_type("TEST_EVENT")[0]
    frame = orjson.loads(message.body)
    assert (frame["t"], frame["op"], frame["d"]) == ("TEST_EVENT", 0, {"n": 0})
    assert message.message_id == f"{session}:{frame['s']}"
    assert message.routing_key == "0"
    headers = dict(message.headers)
    assert headers.pop("received_at") == pytest.approx(rig.sim.ledger()[-1]["at"], abs=5)
    assert headers == {
        "shard": 0,
        "shard_count": 1,
        "fencing_token": shard.lease.fencing_token,
        "replayed": False,
        "resumed_from": 0,
    }


@pytest.mark.parametrize("order", ["random", ["d", "op", "s", "t"], ["op", "d", "t", "s"]])
async def test_frames_with_their_keys_in_another_order_arrive_as_ever(rig: Rig, order: object) -> None:
    rig.sim.fault("envelope", order=order)
    shard, session = await rig.start_connected()
    rig.send(10)
    rig.sim.fault("reconnect", session=session)
    rig.send(10)
    await rig.connected(shard, established=2)
    await rig.all_arrived(session)
    assert rig.counted("resumes") == 1
    rig.assert_no_violations()


async def test_an_event_type_nobody_knows_is_passed_on(rig: Rig) -> None:
    _, session = await rig.start_connected()
    rig.sim.fault("unknown_event", type="SOMETHING_NEW", data={"brand": ["new"]}, count=5, session=session)
    await rig.all_arrived(session)
    assert [orjson.loads(message.body)["d"] for message in rig.of_type("SOMETHING_NEW")] == [{"brand": ["new"]}] * 5


async def test_a_dispatch_whose_type_could_be_no_exchange_is_refused_and_the_others_go_on(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    shard, session = await rig.start_connected()
    for seq in range(3):
        text = f'{{"t":"bad.type","s":{100 + seq},"op":0,"d":{{}}}}'
        rig.sim.fault("malformed_frame", text=text, session=session)
    text = '{"t":"TEST_EVENT","s":200,"op":0,"d":{}}'
    rig.sim.fault("malformed_frame", text=text, session=session)
    await eventually(lambda: f"{session}:200" in rig.ids())
    assert shard.refused_count == 3
    assert [record.message for record in caplog.records].count("dispatch refused") == 1
    assert rig.counted("resumes") == 0


async def test_what_discord_sends_twice_is_published_once(rig: Rig) -> None:
    rig.sim.fault("duplicate", probability=1.0)
    shard, session = await rig.start_connected()
    rig.send(20)
    await rig.all_arrived(session)
    rig.sim.fault("reconnect", session=session)
    rig.send(20)
    await rig.connected(shard, established=2)
    await rig.all_arrived(session)


MALFORMED = [
    '{"t":"MESSAGE_CREATE","s":',
    "no json",
    "[]",
    "null",
    '{"op":"zero"}',
    '{"t":null,"s":null,"op":9,"d":',
    '{"t":null,"s":null,"op":7',
    "\x00",
    '{"t":5,"s":5,"op":0,"d":{}}',
]


@pytest.mark.parametrize("text", MALFORMED)
async def test_a_malformed_frame_costs_one_resume_and_loses_nothing(rig: Rig, text: str) -> None:
    shard, session = await rig.start_connected()
    rig.send(5)
    rig.sim.fault("malformed_frame", text=text, session=session)
    rig.send(5)
    assert await rig.connected(shard, established=2) == session
    rig.send(5)
    await rig.all_arrived(session)
    assert (rig.counted("resumes"), rig.counted("identifies")) == (1, 1)
    rig.assert_no_violations()


async def test_a_frame_that_is_malformed_each_time_is_skipped_the_second_time(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    for _ in range(3):
        rig.sim.fault("malformed_frame", session=session)
    rig.send(5)
    await rig.connected(shard, established=2)
    rig.sim.fault("malformed_frame", session=session)
    rig.sim.fault("malformed_frame", session=session)
    rig.send(5)
    await rig.all_arrived(session)
    assert rig.counted("resumes") <= 3
    assert shard.state is ShardState.CONNECTED
    assert rig.counted("identifies") == 1


@pytest.mark.parametrize(
    "d",
    [
        "null",
        "{}",
        '{"session_id":null}',
        '{"session_id":""}',
        '{"session_id":7,"resume_gateway_url":7}',
        '{"session_id":"' + "x" * 256 + '"}',
        '{"session_id":"' + "\u00e9" * 200 + '"}',
        "[",
    ],
)
async def test_a_ready_without_a_usable_session_is_followed_by_another_identify(
    rig: Rig, d: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "READY_TIMEOUT_S", 1.0)
    rig.sim.fault("missing_ready", seconds=60)
    shard = rig.start()
    await eventually(lambda: rig.counted("identifies") >= 1)
    rig.sim.fault("malformed_frame", text=f'{{"t":"READY","s":1,"op":0,"d":{d}}}')
    await eventually(lambda: rig.counted("identifies") >= 2)
    rig.sim.delete("/faults")
    session = await rig.connected(shard)
    await rig.all_arrived(session)
    assert 2 <= rig.counted("identifies") <= 8
