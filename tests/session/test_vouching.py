"""No connect without the broker's word that it knows the worker: two holders must not fight over a Discord session."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventbus.amqp import publish_topology
from gateway_workers.shard import ShardState
from tests.session.rig import rig_of
from tests.waiting import eventually

if TYPE_CHECKING:
    import pytest

    from tests.session.rig import Rig
    from tests.sim.conftest import Sim
    from tests.tcp_proxy import TcpProxy


async def test_a_worker_whose_publishing_link_is_half_open_leaves_the_session_to_its_successor(
    narrow_rig: Rig, beating_sim: Sim, broker_url: str, namespace: str, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_topology, "PROOF_SILENCE_S", 3.0)
    old, session = await narrow_rig.start_connected()
    narrow_rig.send(3)
    await narrow_rig.all_confirmed(session)
    checkpoint = old.checkpoint()
    proxy.stall()
    before = proxy.connection_count
    async with rig_of(beating_sim, broker_url, namespace, worker_id="successor") as rig:
        new = rig.start(checkpoint)
        await rig.connected(new, established=1)
        await proxy.until_connections(before + 1)  # the old one gave its link up, and asks for its leases first
        rig.send(3)
        await eventually(lambda: len(rig.of_type("TEST_EVENT")) == 3)
        assert new.state is ShardState.CONNECTED
        assert old.state is not ShardState.CONNECTED
        assert rig.counted("resumes") == 1
        rig.assert_no_violations()


async def test_a_connect_that_waits_for_the_broker_is_stopped_at_once(narrow_rig: Rig, proxy: TcpProxy) -> None:
    rig = narrow_rig
    shard, session = await rig.start_connected()
    await rig.all_confirmed(session)
    proxy.stall()
    rig.sim.fault("drop", session=session)
    await eventually(lambda: shard.state is ShardState.WAITING)
    await asyncio.sleep(0.5)  # who waits for nobody is back by now
    async with asyncio.timeout(2):
        handed = await shard.hand_over()
    assert handed is not None
    await rig.end(shard)
    proxy.resume()
    assert rig.counted("resumes") == 0
    await rig.start_connected(handed)


async def test_sixteen_shards_connect_at_once(rig: Rig) -> None:
    shards = [rig.start(shard=number, shard_count=16) for number in range(16)]
    await eventually(lambda: all(shard.state is ShardState.CONNECTED for shard in shards))
    for shard in shards:
        rig.sim.fault("drop", shard=shard.lease.shard)
    await eventually(lambda: rig.counted("resumes") == 16)
    await eventually(lambda: all(shard.state is ShardState.CONNECTED for shard in shards))
    rig.assert_no_violations()
