"""Identify permits from real gw-coordinator processes."""

from __future__ import annotations

import asyncio
import signal

import pytest

from coordinator.identify_gate import IDENTIFY_SPACING_S, PERMIT_VALID_S
from eventbus import messages
from eventbus.errors import RemoteError
from tests.wire.coordinator_rig import DiscordStandIn, HandWorker, Rig, rig


async def holding(fleet: Rig, *shards: int) -> HandWorker:
    worker = await fleet.worker("a")
    await worker.register(",".join(map(str, shards)))
    await worker.hold(*shards)
    return worker


async def test_a_new_fleet_identifies_at_once_and_then_one_spacing_apart(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader()
        worker = await holding(fleet, 0, 1)
        first = await worker.identify(0)
        assert first.granted
        assert first.valid_s == PERMIT_VALID_S
        second = await worker.identify(1)
        assert not second.granted
        assert IDENTIFY_SPACING_S - 1 < second.retry_after_s <= IDENTIFY_SPACING_S
        await asyncio.sleep(second.retry_after_s)
        assert (await worker.identify(1)).granted


async def test_all_buckets_identify_at_once(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace, DiscordStandIn(shards=16, max_concurrency=16)) as fleet:
        await fleet.leader()
        worker = await holding(fleet, *range(16))
        permits = await asyncio.gather(*(worker.identify(shard) for shard in range(16)))
        assert all(permit.granted for permit in permits)


async def test_without_the_lease_there_is_no_permit(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader()
        worker = await holding(fleet, 0)
        worker.held[0] = worker.held[0].model_copy(update={"fencing_token": 1})
        with pytest.raises(RemoteError) as caught:
            await worker.identify(0)
        assert caught.value.code == messages.ErrorCode.STALE_LEASE


async def test_the_reserve_is_kept_for_recoveries(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace, DiscordStandIn(remaining=5)) as fleet:
        await fleet.leader("--identify-reserve", "5")
        worker = await holding(fleet, 0)
        refused = await worker.identify(0)
        assert not refused.granted
        assert "kept for recovery" in refused.reason
        assert 3000 < refused.retry_after_s < 4000
        assert (await worker.identify(0, recovery=True)).granted


async def test_a_successor_waits_one_spacing_and_asks_discord_before_its_first_permit(
    broker_url: str, namespace: str
) -> None:
    async with rig(broker_url, namespace) as fleet:
        first = await fleet.leader()
        worker = await holding(fleet, 0)
        assert (await worker.identify(0)).granted
        permitted_at = asyncio.get_running_loop().time()
        first.signal(signal.SIGKILL)
        assert await first.wait() == -signal.SIGKILL
        fleet.discord.answer["session_start_limit"]["remaining"] = 999
        await fleet.leader()
        asked_count = fleet.discord.asked_count
        await worker.register("0")
        refused = await worker.identify(0, recovery=True)
        assert not refused.granted
        await asyncio.sleep(refused.retry_after_s)
        assert (await worker.identify(0, recovery=True)).granted
        assert asyncio.get_running_loop().time() - permitted_at > IDENTIFY_SPACING_S
        assert fleet.discord.asked_count > asked_count
        assert (await worker.coordinator.state()).identifies_remaining == 998
