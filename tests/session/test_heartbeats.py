"""Heartbeats and zombies, over a gateway whose heartbeat interval is a fraction of a second."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway_workers.shard import ShardState
from tests.session.odd_gateway import ACK, BEAT, READY, hello, odd_gateway, read_for_ever
from tests.waiting import eventually

if TYPE_CHECKING:
    from aiohttp import web

    from tests.session.rig import Rig


async def test_heartbeats_keep_a_session_alive_and_tell_its_latency(beating_rig: Rig) -> None:
    rig = beating_rig
    before = rig.heartbeats()
    shard, session = await rig.start_connected()
    rig.send(3)
    await eventually(lambda: rig.heartbeats() >= before + 4)
    assert shard.state is ShardState.CONNECTED
    latency_s = shard.held().latency_s
    assert latency_s is not None
    assert 0 < latency_s < 1
    await eventually(lambda: rig.session(session)["acked_seq"] == rig.session(session)["last_seq"])
    assert rig.counted("resumes") == 0
    rig.assert_no_violations()


async def test_withheld_acks_make_a_zombie_that_is_closed_resumably_and_resumed(beating_rig: Rig) -> None:
    rig = beating_rig
    shard, session = await rig.start_connected()
    rig.sim.fault("withhold_acks", seconds=60, session=session)
    rig.send(5)
    await eventually(lambda: rig.counted("resumes") == 1)
    assert await rig.connected(shard, established=2) == session
    rig.send(5)
    await rig.all_arrived(session)
    assert rig.counted("client_closed_4900") == 1
    assert rig.counted("identifies") == 1
    rig.assert_no_violations()


async def test_a_gateway_that_stalls_is_left_and_the_session_resumed(beating_rig: Rig) -> None:
    rig = beating_rig
    shard, session = await rig.start_connected()
    rig.sim.fault("stall", seconds=3, session=session)
    rig.send(5)
    await eventually(lambda: rig.counted("resumes") >= 1)
    assert await rig.connected(shard, established=2) == session
    await rig.all_arrived(session)
    assert rig.counted("identifies") == 1


async def test_an_op_1_shortly_before_the_next_beat_makes_no_zombie(rig: Rig) -> None:
    interval_s = 1.0
    beats: list[float] = []
    connections: list[web.WebSocketResponse] = []
    ended = asyncio.Event()

    async def late_ack_after_op_1(websocket: web.WebSocketResponse) -> None:
        connections.append(websocket)
        await websocket.send_str(hello(1000))
        await websocket.send_str(READY)
        while len(beats) < 1:
            if await _is_beat(websocket):
                beats.append(0.0)
                await websocket.send_str(ACK)
        for _ in range(3):
            await asyncio.sleep(interval_s * 0.9)
            await websocket.send_str(BEAT)
            while not await _is_beat(websocket):
                pass
            await asyncio.sleep(interval_s * 0.3)
            await websocket.send_str(ACK)
        ended.set()
        await read_for_ever(websocket)

    async def _is_beat(websocket: web.WebSocketResponse) -> bool:
        return '"op":1,' in (await websocket.receive_str()).replace(" ", "")

    async with odd_gateway(late_ack_after_op_1) as url:
        shard = rig.start(gateway_url=url)
        async with asyncio.timeout(60):
            await ended.wait()
        assert shard.state is ShardState.CONNECTED
        assert len(connections) == 1
        await rig.hand_over(shard)


async def test_before_the_first_dispatch_of_a_session_a_heartbeat_names_no_seq(rig: Rig) -> None:
    named: list[str] = []

    async def identify_late(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str(hello(50))
        async for message in websocket:
            text = str(message.data)
            if '"op":2' in text:
                named.append("identify")
            elif '"op":1' in text:
                named.append(text)
                await websocket.send_str(ACK)

    async with odd_gateway(identify_late) as url:
        shard = rig.start(gateway_url=url)
        await eventually(lambda: len(named) >= 4)
        assert all('"d":null' in text for text in named if text != "identify")
        await rig.hand_over(shard)


async def test_while_a_permit_is_awaited_on_an_open_socket_no_zombie_is_seen(rig: Rig) -> None:
    beats: list[str] = []

    async def ack_all(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str(hello(50))
        async for message in websocket:
            beats.append(str(message.data))
            if '"op":1' in beats[-1]:
                await websocket.send_str(ACK)
            elif '"op":2' in beats[-1]:
                await websocket.send_str(READY)

    async with odd_gateway(ack_all) as url:
        rig.permits.expired_count, rig.permits.closes_after_expired = 1, True
        shard = rig.start(gateway_url=url)
        await eventually(lambda: len([beat for beat in beats if '"op":1' in beat]) >= 4)
        rig.permits.is_open.set()
        await eventually(lambda: shard.state is ShardState.CONNECTED)
        assert len([beat for beat in beats if '"op":2' in beat]) == 1
        await rig.hand_over(shard)
