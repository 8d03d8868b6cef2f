"""Hosts that are dead in every way: the session is resumed all the same, and no identify is spent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway_workers import gateway_connection, gateway_socket, reconnect
from gateway_workers import shard as shard_module
from gateway_workers.shard import ShardState
from tests.session.odd_gateway import hello, odd_gateway, read_for_ever
from tests.waiting import eventually

if TYPE_CHECKING:
    from aiohttp import web

    from eventbus.messages import Session
    from tests.session.rig import Rig


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_socket, "OPEN_TIMEOUT_S", 1.0)
    monkeypatch.setattr(gateway_connection, "HELLO_TIMEOUT_S", 1.0)
    monkeypatch.setattr(shard_module, "READY_TIMEOUT_S", 2.0)


@pytest.mark.parametrize("mode", ["refuse", "hang", "503"])
async def test_a_dead_resume_host_is_left_for_the_general_url_with_a_resume(rig: Rig, mode: str) -> None:
    shard, session = await rig.start_connected()
    rig.sim.fault("resume_host", mode=mode)
    rig.sim.fault("drop", session=session)
    rig.send(10)
    assert await rig.connected(shard, established=2) == session
    await rig.all_arrived(session)
    assert rig.counted("resume_on_gateway_host") == 1
    assert rig.counted("identifies") == 1
    rig.assert_no_violations()


async def test_a_resume_host_that_is_back_is_used_again(rig: Rig) -> None:
    shard, session = await rig.start_connected()
    rig.sim.fault("resume_host", mode="refuse")
    rig.sim.fault("drop", session=session)
    await rig.connected(shard, established=2)
    rig.sim.fault("resume_host", mode="ok")
    rig.sim.fault("drop", session=session)
    await rig.connected(shard, established=3)
    assert (rig.counted("resume_on_gateway_host"), rig.counted("resume_on_resume_host")) == (1, 1)


async def test_with_both_hosts_dead_the_session_waits_for_either(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnect, "MAX_WAIT_S", 0.1)
    shard, session = await rig.start_connected()
    rig.sim.fault("resume_host", mode="refuse")
    rig.sim.fault("gateway_host", mode="503")
    rig.sim.fault("drop", session=session)
    rig.send(10)
    await eventually(lambda: shard.state is ShardState.CONNECTING)
    rig.sim.fault("resume_host", mode="ok")
    assert await rig.connected(shard, established=2) == session
    await rig.all_arrived(session)
    assert rig.counted("identifies") == 1


@pytest.mark.parametrize("mode", ["refuse", "hang", "503"])
async def test_a_general_url_that_is_dead_at_first_costs_no_identify(rig: Rig, mode: str) -> None:
    rig.sim.fault("gateway_host", mode=mode)
    shard = rig.start()
    await eventually(lambda: len(rig.permits.asked) >= 2)
    rig.sim.fault("gateway_host", mode="ok")
    await rig.connected(shard)
    assert rig.counted("identifies") == 1
    assert rig.permits.asked == [False] * len(rig.permits.asked)


async def handed_over(rig: Rig, resume_url: str) -> Session:
    """A session that stands ready for a successor, with another resume URL."""
    shard, _ = await rig.start_connected()
    session = await rig.hand_over(shard)
    assert session is not None
    return session.model_copy(update={"resume_url": resume_url})


@pytest.mark.parametrize("url", ["", "ws://[bad", "no url", "ftp://127.0.0.1/", "ws://", "ws://127.0.0.1:1"])
async def test_a_resume_url_that_is_none_is_left_for_the_general_url(rig: Rig, url: str) -> None:
    session = await handed_over(rig, url)
    shard = rig.start(session)
    assert await rig.connected(shard, established=2) == session.session_id
    assert rig.counted("resume_on_gateway_host") == 1
    assert rig.counted("identifies") == 1
    await rig.all_arrived(session.session_id)


async def test_a_forged_resume_url_never_gets_the_bot_token(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    visits: list[str] = []

    async def serve(websocket: web.WebSocketResponse) -> None:
        visits.append("came")
        await read_for_ever(websocket)

    async with odd_gateway(serve) as url:
        forged = url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104 - it leads there, and is another host
        assert forged != url
        session = await handed_over(rig, forged)
        shard = rig.start(session)
        assert await rig.connected(shard, established=2) == session.session_id
        rig.sim.fault("drop", session=session.session_id)
        await rig.connected(shard, established=3)
        await rig.all_arrived(session.session_id)
    assert visits == []
    assert (rig.counted("resume_on_gateway_host"), rig.counted("identifies")) == (2, 1)
    assert [record.message for record in caplog.records].count(
        "resume URL refused: the bot token does not go there"
    ) == 1


@pytest.mark.parametrize("change", [{"seq": 2**63 - 1}, {"session_id": "never-was"}, {"shard_count": 9}])
async def test_a_session_that_cannot_be_resumed_is_followed_by_one_identify(
    rig: Rig, change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    session = (await handed_over(rig, "")).model_copy(update=change)
    shard = rig.start(session)
    assert await rig.connected(shard, established=2) != session.session_id
    assert rig.counted("identifies") == 2
    if "shard_count" in change:
        assert "session not resumed" in [record.message for record in caplog.records]


async def says_nothing(websocket: web.WebSocketResponse) -> None:
    await read_for_ever(websocket)


async def hangs_up(websocket: web.WebSocketResponse) -> None:
    await websocket.close(code=1011)


async def hangs_up_after_hello(websocket: web.WebSocketResponse) -> None:
    await websocket.send_str(hello(40_000))
    await websocket.close(code=4000)


async def says_only_hello(websocket: web.WebSocketResponse) -> None:
    await websocket.send_str(hello(40_000))
    await read_for_ever(websocket)


async def says_nonsense(websocket: web.WebSocketResponse) -> None:
    await websocket.send_str("nonsense")
    await read_for_ever(websocket)


async def says_hello_without_interval(websocket: web.WebSocketResponse) -> None:
    await websocket.send_str('{"t":null,"s":null,"op":10,"d":{}}')
    await read_for_ever(websocket)


async def says_broken_hello(websocket: web.WebSocketResponse) -> None:
    await websocket.send_str('{"t":null,"s":null,"op":10,"d":')
    await read_for_ever(websocket)


@pytest.mark.parametrize(
    "serve",
    [
        says_nothing,
        hangs_up,
        hangs_up_after_hello,
        says_only_hello,
        says_nonsense,
        says_hello_without_interval,
        says_broken_hello,
    ],
)
async def test_a_resume_host_that_opens_but_brings_no_session_is_left_for_the_general_url(
    rig: Rig, serve: object
) -> None:
    async with odd_gateway(serve) as url:  # type: ignore[arg-type]
        session = await handed_over(rig, url)
        shard = rig.start(session)
        assert await rig.connected(shard, established=2) == session.session_id
        await rig.all_arrived(session.session_id)
        assert rig.counted("identifies") == 1
        await rig.hand_over(shard)
