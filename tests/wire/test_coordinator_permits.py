"""Identify permits from real gw-coordinator processes."""

from __future__ import annotations

import asyncio
import signal

import aio_pika
import pytest

from coordinator.identify_gate import IDENTIFY_SPACING_S, LONGEST_SPACING_S
from eventbus import messages
from eventbus.errors import RemoteError
from tests.wire.coordinator_rig import CoordinatorProcess, DiscordStandIn, HandWorker, Rig, rig, until


async def holding(fleet: Rig, *shards: int) -> HandWorker:
    worker = await fleet.worker("a")
    await worker.register(",".join(map(str, shards)))
    await worker.hold(*shards)
    return worker


async def is_closed_for(worker: HandWorker, shard: int, spacing_s: float, *, since: float) -> float:
    """That the shard's bucket opens one spacing after `since`; seconds until then."""
    refused = await worker.identify(shard)
    assert not refused.granted
    opens_at = asyncio.get_running_loop().time() + refused.retry_after_s
    assert opens_at > since + spacing_s - 0.1  # what the wire rounds off
    assert refused.retry_after_s <= spacing_s
    return refused.retry_after_s


async def test_a_new_fleet_identifies_at_once_and_then_one_spacing_apart(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader()
        worker = await holding(fleet, 0, 1)
        asked_at = asyncio.get_running_loop().time()
        first = await worker.identify(0)
        assert first.granted
        assert first.valid_s == messages.PERMIT_VALID_S
        await asyncio.sleep(await is_closed_for(worker, 1, IDENTIFY_SPACING_S, since=asked_at))
        assert (await worker.identify(1)).granted


async def test_a_permit_that_lasts_longer_keeps_its_bucket_closed_longer(broker_url: str, namespace: str) -> None:
    """For a worker whose way to the coordinator is slow."""
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader()
        worker = await holding(fleet, 0, 1)
        asked_at = asyncio.get_running_loop().time()
        permit = await worker.identify(0, valid_s=messages.MAX_PERMIT_VALID_S)
        assert permit.granted
        assert permit.valid_s == messages.MAX_PERMIT_VALID_S
        await is_closed_for(worker, 1, LONGEST_SPACING_S, since=asked_at)


async def test_all_buckets_identify_at_once(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace, DiscordStandIn(shards=16, max_concurrency=16)) as fleet:
        await fleet.leader()
        worker = await holding(fleet, *range(16))
        permits = await asyncio.gather(*(worker.identify(shard) for shard in range(16)))
        assert all(permit.granted for permit in permits)


async def test_a_shard_whose_session_ended_recovers_under_its_next_holder_too(broker_url: str, namespace: str) -> None:
    """The one that was told so was killed before it identified: nobody else knows that this is a recovery."""
    async with rig(broker_url, namespace, DiscordStandIn(remaining=5, max_concurrency=2)) as fleet:
        await fleet.leader("--identify-reserve", "5")
        worker = await holding(fleet, 0, 1)
        session = messages.Session(session_id="s", resume_url="wss://x", seq=1, shard_count=4)
        async with await aio_pika.connect(broker_url) as connection:
            exchange = (await connection.channel()).default_exchange

            async def write(shard: int, session: messages.Session | None) -> None:
                token = worker.held[shard].fencing_token
                checkpoint = messages.Checkpoint(shard=shard, fencing_token=token, session=session)
                record = messages.Checkpoints(worker_id="a", checkpoints=(checkpoint,))
                await exchange.publish(aio_pika.Message(messages.encode(record)), worker.names.sessions)

            await write(1, None)  # one that has not begun
            await write(0, session)
            await write(0, None)

        async def is_granted() -> bool:
            return (await worker.identify(0)).granted

        await until(is_granted)
        assert "kept for recovery" in (await worker.identify(1)).reason


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


async def stand_by_of(fleet: Rig) -> CoordinatorProcess:
    process = await fleet.coordinator()
    await process.logged("connected")
    return process


async def taken_over(leader: CoordinatorProcess, successor: CoordinatorProcess, worker: HandWorker) -> None:
    """The leader is killed and its successor grants."""
    leader.signal(signal.SIGKILL)
    assert await leader.wait() == -signal.SIGKILL
    await worker.register("auto")
    await successor.logged("granting")


async def test_a_successor_keeps_only_the_used_bucket_closed(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace, DiscordStandIn(max_concurrency=2)) as fleet:
        leader = await fleet.leader()
        successor = await stand_by_of(fleet)
        worker = await holding(fleet, 0, 1, 2, 3)
        asked_at = asyncio.get_running_loop().time()
        assert (await worker.identify(0)).granted
        await taken_over(leader, successor, worker)
        other = await worker.identify(1)
        assert other.granted, other
        same = await worker.identify(2)
        while not same.granted:
            assert "identify bucket 0 opens" in same.reason
            await asyncio.sleep(same.retry_after_s)
            same = await worker.identify(2)
        assert asyncio.get_running_loop().time() - asked_at > IDENTIFY_SPACING_S


async def test_a_coordinator_that_starts_after_a_permit_keeps_its_bucket_closed(
    broker_url: str, namespace: str
) -> None:
    async with rig(broker_url, namespace, DiscordStandIn(max_concurrency=2)) as fleet:
        leader = await fleet.leader()
        worker = await holding(fleet, 0, 1, 2)
        asked_at = asyncio.get_running_loop().time()
        assert (await worker.identify(0)).granted
        leader.signal(signal.SIGKILL)
        await leader.wait()
        await fleet.leader()  # it reads the permit as history
        await worker.register("auto")
        assert (await worker.identify(1)).granted
        same = await worker.identify(2)
        assert not same.granted
        await asyncio.sleep(same.retry_after_s)
        assert (await worker.identify(2)).granted
        assert asyncio.get_running_loop().time() - asked_at > IDENTIFY_SPACING_S


async def test_a_successor_spends_the_budget_that_it_read_while_discord_does_not_answer(
    broker_url: str, namespace: str
) -> None:
    async with rig(broker_url, namespace, DiscordStandIn(shards=8, max_concurrency=8, remaining=1000)) as fleet:
        fleet.discord.answer["session_start_limit"]["remaining"] = 4
        leader = await fleet.leader("--identify-reserve", "0")
        fleet.discord.answer["session_start_limit"]["remaining"] = 1000  # a count that Discord would correct
        successor = await stand_by_of(fleet)
        worker = await holding(fleet, *range(8))
        assert (await worker.identify(0)).granted
        fleet.discord.answer, fleet.discord.status = {"message": "503"}, 503
        await taken_over(leader, successor, worker)
        granted = [(await worker.identify(shard, recovery=True)).granted for shard in range(1, 6)]
        assert granted == [True, True, True, False, False]


async def test_a_coordinator_whom_nobody_tells_of_permits_waits_one_spacing(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader()
        worker = await holding(fleet, 0)
        assert (await worker.identify(0)).granted
        permitted_at = asyncio.get_running_loop().time()
        leader.signal(signal.SIGKILL)
        await leader.wait()
        async with await aio_pika.connect(broker_url) as connection:
            await (await connection.channel()).queue_delete(worker.names.sessions)
        fleet.discord.answer["session_start_limit"]["remaining"] = 999
        await fleet.leader()
        await worker.register("0")
        refused = await worker.identify(0, recovery=True)
        assert not refused.granted
        await asyncio.sleep(refused.retry_after_s)
        assert (await worker.identify(0, recovery=True)).granted
        assert asyncio.get_running_loop().time() - permitted_at > IDENTIFY_SPACING_S
        assert (await worker.coordinator.state()).identifies_remaining == 998
