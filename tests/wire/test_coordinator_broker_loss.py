"""A broker that restarts under a running fleet costs nobody a lease."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from eventbus import messages
from ops.broker_node import BrokerNode
from tests.wire.coordinator_rig import rig, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.wire.coordinator_rig import HandWorker


async def reopened(worker: HandWorker) -> None:
    await worker.close_control()
    await worker.open()
    for shard in worker.held:
        await worker.bind(shard)


@pytest.mark.long
async def test_after_a_restart_of_the_broker_workers_that_come_back_late_keep_their_leases(
    tmp_path: Path, namespace: str
) -> None:
    async with BrokerNode(tmp_path / "broker") as node, rig(node.url, namespace) as fleet:
        leader = await fleet.leader()
        holder, stand_by = await fleet.worker("holder"), await fleet.worker("stand-by")
        await holder.register("0-1")
        before = await holder.hold(0, 1)
        await stand_by.register("0-1")
        await node.restart()

        async def leads_again() -> bool:
            return leader.log.count('"action":"leading"') >= 2

        await until(leads_again, timeout_s=30)
        await reopened(stand_by)
        assert (await stand_by.register("0-1")).leases == ()
        await asyncio.sleep(2.0)  # the holder's back-off
        await reopened(holder)
        learned = await holder.register("0-1")
        assert {lease.shard: lease.fencing_token for lease in learned.leases} == {
            shard: lease.fencing_token for shard, lease in before.items()
        }

        async def grants_again() -> bool:
            return leader.log.count('"action":"granting"') >= 2

        await until(grants_again)
        assert (await stand_by.coordinator.call(messages.Renew(worker_id="stand-by"), messages.Leases)).leases == ()
        assert "worker_dead" not in leader.log
