"""A broker that takes nothing: memory stays bounded, no zombie is seen, and Discord's replay buffer keeps the rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from gateway_workers import shard as shard_module
from gateway_workers import shard_session
from gateway_workers.shard import ShardState
from tests.waiting import eventually

if TYPE_CHECKING:
    from tests.session.rig import Rig
    from tests.tcp_proxy import TcpProxy


async def test_while_the_window_is_full_heartbeats_go_on_and_no_zombie_is_seen(
    narrow_rig: Rig, proxy: TcpProxy
) -> None:
    rig = narrow_rig
    shard, session = await rig.start_connected()
    rig.send(1)
    await rig.all_confirmed(session)
    proxy.stall()
    await asyncio.to_thread(rig.send, 60)  # heartbeats go on meanwhile
    await eventually(lambda: rig.publisher.is_full)
    before = rig.heartbeats()
    await eventually(lambda: rig.heartbeats() >= before + 4)
    assert shard.state is ShardState.CONNECTED
    count, _ = rig.publisher.backlog
    assert count <= 20
    proxy.resume()
    await rig.all_arrived(session)
    assert rig.counted("resumes") == 0
    rig.assert_no_violations()


async def test_a_window_that_stays_full_closes_resumably_and_resumes_when_the_broker_is_back(
    narrow_rig: Rig, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_session, "STALL_S", 0.4)
    rig = narrow_rig
    shard, session = await rig.start_connected()
    rig.send(1)
    await rig.all_confirmed(session)
    proxy.stall()
    await asyncio.to_thread(rig.send, 80)  # heartbeats go on meanwhile
    await eventually(lambda: rig.counted("client_closed_4900") >= 1)
    count, _ = rig.publisher.backlog
    assert count <= 20
    checkpoint = shard.checkpoint()
    assert checkpoint is not None
    proxy.resume()
    assert await rig.connected(shard, established=2) == session
    await rig.all_arrived(session)
    assert rig.repeated() == []
    assert rig.counted("identifies") == 1
    rig.assert_no_violations()


async def test_the_first_dispatch_of_a_type_during_a_stall_makes_no_zombie(narrow_rig: Rig, proxy: TcpProxy) -> None:
    rig = narrow_rig
    shard, session = await rig.start_connected()
    proxy.stall()
    rig.sim.fault("unknown_event", type="SOMETHING_NEW", session=session)
    rig.send(3)
    before = rig.heartbeats()
    await eventually(lambda: rig.heartbeats() >= before + 4)
    proxy.resume()
    await rig.all_arrived(session)
    assert shard.state is ShardState.CONNECTED
    assert rig.counted("resumes") == 0
    rig.assert_no_violations()


async def test_the_first_dispatch_of_a_type_waits_no_longer_than_any_other(
    narrow_rig: Rig, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_session, "STALL_S", 0.4)
    rig = narrow_rig
    shard, session = await rig.start_connected()
    proxy.stall()
    rig.sim.fault("unknown_event", type="SOMETHING_NEW", session=session)
    rig.send(3)
    await eventually(lambda: rig.counted("client_closed_4900") >= 1)
    proxy.resume()
    await rig.connected(shard, established=2)
    await rig.all_arrived(session)
    assert rig.counted("identifies") == 1
    rig.assert_no_violations()


async def test_a_broker_that_is_cut_again_and_again_loses_nothing(narrow_rig: Rig, proxy: TcpProxy) -> None:
    rig = narrow_rig
    shard, session = await rig.start_connected()
    for _ in range(3):
        rig.send(30)
        count = proxy.connection_count
        proxy.cut()
        await proxy.until_connections(count + 1)
    rig.send(10)
    sent = rig.sent_ids(session)
    await eventually(lambda: set(sent) <= set(rig.ids()))
    assert list(dict.fromkeys(rig.ids())) == sent
    assert shard.state is ShardState.CONNECTED
    rig.assert_no_violations()


async def test_a_shard_can_be_stopped_while_its_window_is_full(
    narrow_rig: Rig, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "STOP_TIMEOUT_S", 0.5)
    monkeypatch.setattr(shard_module, "DRAIN_TIMEOUT_S", 0.3)
    rig = narrow_rig
    shard, session = await rig.start_connected()
    rig.send(1)
    await rig.all_confirmed(session)
    confirmed = len(rig.ids())
    proxy.stall()
    await asyncio.to_thread(rig.send, 60)  # heartbeats go on meanwhile
    await eventually(lambda: rig.publisher.is_full)
    handed = await rig.hand_over(shard)
    assert handed is not None
    assert handed.seq == confirmed
    proxy.resume()
    successor = rig.start(handed)
    await rig.connected(successor, established=2)
    await rig.all_arrived(session)
    assert len(rig.repeated()) <= 20
    rig.assert_no_violations()
