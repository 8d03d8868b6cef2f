"""Leases over real RabbitMQ, granted by real gw-coordinator processes."""

from __future__ import annotations

import asyncio
import signal

import aio_pika
import pytest

from coordinator.liveness import GRACE_S
from eventbus import messages
from eventbus.amqp.coordinator_queue import declare_coordinator_queue
from eventbus.errors import RemoteError
from tests.wire.coordinator_rig import DiscordStandIn, HandWorker, rig, until


def session(seq: int, *, shard_count: int = 4) -> messages.Session:
    return messages.Session(session_id="abc", resume_url="ws://127.0.0.1:9/", seq=seq, shard_count=shard_count)


async def shards_of(worker: HandWorker) -> set[int]:
    return {lease.shard for lease in (await worker.renew()).leases}


async def poked(worker: HandWorker) -> None:
    async with asyncio.timeout(5):
        while not isinstance(await worker.inbox.get(), messages.Poke):
            pass


async def test_a_registered_worker_gets_its_range_and_the_configuration(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader("--intents", "guilds|guild_messages")
        worker = await fleet.worker("a")
        reply = await worker.register("0,2-3")
        assert [lease.shard for lease in reply.leases] == [0, 2, 3]
        assert reply.config == messages.BotConfig(
            shard_count=4, intents=513, gateway_url="ws://127.0.0.1:9/", max_concurrency=1
        )
        assert len({lease.fencing_token for lease in reply.leases}) == 3
        assert await worker.coordinator.config(timeout_s=5) == reply.config


async def test_a_worker_that_came_during_learning_is_poked_when_granting_begins(
    broker_url: str, namespace: str
) -> None:
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.coordinator()
        worker = await fleet.worker("a")
        await leader.logged("leading")
        first = await worker.register("0-3")
        assert first.leases == ()
        await poked(worker)
        assert await shards_of(worker) == {0, 1, 2, 3}


async def test_a_dead_workers_leases_go_to_the_stand_by_with_their_sessions(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader()
        holder, stand_by = await fleet.worker("a"), await fleet.worker("b")
        await holder.register("0-3")
        before = await holder.hold(0, 1, 2, 3)
        holder.held[2] = holder.held[2].model_copy(update={"session": session(41)})
        await holder.renew()
        assert (await stand_by.register("0-3")).leases == ()
        died_at = asyncio.get_running_loop().time()
        await holder.die()
        after = await stand_by.hold(0, 1, 2, 3)
        assert asyncio.get_running_loop().time() - died_at < GRACE_S
        assert after[2].session == session(41)
        assert min(lease.fencing_token for lease in after.values()) > max(
            lease.fencing_token for lease in before.values()
        )


async def test_lease_time_alone_takes_nothing_and_a_lost_publishing_connection_takes_all_after_a_grace(
    broker_url: str, namespace: str
) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader()
        silent, cut, stand_by = [await fleet.worker(name) for name in ("silent", "cut", "zz-stand-by")]
        await silent.register("0-1")
        await silent.hold(0, 1)
        await cut.register("2-3")
        await cut.hold(2, 3)
        await stand_by.register("0-3")
        await silent.close_control()  # it never renews again, but it could publish
        cut_at = asyncio.get_running_loop().time()
        await cut.close_publishing()
        await stand_by.hold(2, 3)
        waited_s = asyncio.get_running_loop().time() - cut_at
        assert GRACE_S - 0.1 <= waited_s < GRACE_S + 10
        assert await shards_of(stand_by) == {2, 3}
        state = await stand_by.coordinator.state()
        assert [shard.worker_id for shard in state.shards] == ["silent", "silent", "zz-stand-by", "zz-stand-by"]


async def test_a_publishing_connection_that_comes_back_within_the_grace_costs_nothing(
    broker_url: str, namespace: str
) -> None:
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader()
        holder, stand_by = await fleet.worker("a"), await fleet.worker("b")
        await holder.register("0")
        lease = (await holder.hold(0))[0]
        await stand_by.register("0")
        await holder.close_publishing()
        await asyncio.sleep(1.5)  # the tick sees it
        await holder.open_publishing()
        await holder.bind(0)
        assert (await holder.renew()).leases[0].fencing_token == lease.fencing_token
        await asyncio.sleep(GRACE_S - 1.0)
        assert await shards_of(holder) == {0}
        assert "worker_dead" not in leader.log


async def test_a_released_session_goes_to_another_worker_at_once(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader()
        old, new = await fleet.worker("a"), await fleet.worker("b")
        await old.register("0-1")
        await old.hold(0, 1)
        await new.register("0-1")
        await old.leave()
        await old.release(0, session(99))
        await poked(new)
        leases = (await new.renew()).leases
        assert [(lease.shard, lease.session) for lease in leases] == [(0, session(99))]
        assert await shards_of(old) == {1}


async def test_a_released_session_of_another_shard_count_is_dropped_and_logged(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader()
        worker = await fleet.worker("a")
        await worker.register("0")
        await worker.hold(0)
        await worker.release(0, session(99, shard_count=2))
        await leader.logged("session_dropped")
        assert (await worker.hold(0))[0].session is None


async def test_a_stale_release_is_refused_and_changes_nothing(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader()
        worker, other = await fleet.worker("a"), await fleet.worker("b")
        await worker.register("0")
        token = (await worker.hold(0))[0].fencing_token
        await other.register("0")
        for sender, wrong_token in ((worker, token + 1), (worker, token - 1), (other, token)):
            request = messages.Release(worker_id=sender.id, shard=0, fencing_token=wrong_token)
            with pytest.raises(RemoteError) as caught:
                await sender.coordinator.call(request, messages.Done)
            assert caught.value.code == messages.ErrorCode.STALE_LEASE
        assert await shards_of(worker) == {0}


async def test_a_shard_that_somebody_is_bound_to_is_not_granted_until_it_is_unbound(
    broker_url: str, namespace: str
) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader()
        stranger, worker = await fleet.worker("stranger"), await fleet.worker("a")
        await stranger.bind(1)
        assert [lease.shard for lease in (await worker.register("0-1")).leases] == [0]
        await asyncio.sleep(1.5)  # a tick tries in vain
        assert await shards_of(worker) == {0}
        await stranger.unbind(1)
        await poked(worker)
        assert await shards_of(worker) == {0, 1}


async def test_a_killed_coordinators_successor_learns_the_running_leases_before_it_grants(
    broker_url: str, namespace: str
) -> None:
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader()
        stand_by_coordinator = await fleet.coordinator()
        await stand_by_coordinator.logged("connected")
        holder, idle = await fleet.worker("zz"), await fleet.worker("aa")
        await holder.register("0-2")
        before = await holder.hold(0, 1, 2)
        holder.held[0] = holder.held[0].model_copy(update={"session": session(7)})
        await idle.register("0-3")
        assert await shards_of(idle) == {3}
        await idle.hold(3)
        leader.signal(signal.SIGKILL)

        async def roll_call() -> bool:
            return isinstance(await holder.inbox.get(), messages.RollCall)

        with pytest.raises(RemoteError) as caught:  # the successor's first delivery: it begins to lead
            await idle.renew()
        assert caught.value.code == messages.ErrorCode.UNKNOWN_WORKER
        await until(roll_call)
        assert {lease.shard for lease in (await idle.register("0-3")).leases} == {3}
        learned = await holder.register("0-2")
        assert {lease.shard: lease.fencing_token for lease in learned.leases} == {
            shard: lease.fencing_token for shard, lease in before.items()
        }
        await stand_by_coordinator.logged("granting")
        assert await shards_of(idle) == {3}
        await holder.die()
        taken = await idle.hold(0, 1, 2)
        assert taken[0].session == session(7)
        assert taken[0].fencing_token > max(lease.fencing_token for lease in before.values())


async def test_a_running_fleet_keeps_its_shard_count_when_discord_recommends_another(
    broker_url: str, namespace: str
) -> None:
    async with rig(broker_url, namespace, DiscordStandIn(shards=2)) as fleet:
        worker = await fleet.worker("a")
        worker.held[3] = messages.HeldLease(shard=3, fencing_token=5, session=session(7))
        await worker.bind(3)
        async with await aio_pika.connect(broker_url) as connection:  # so that the registration is there first
            await declare_coordinator_queue(await connection.channel(), worker.names)
        registering = asyncio.create_task(worker.register("0-3"))
        await fleet.coordinator()
        reply = await registering
        assert reply.config.shard_count == 4
        assert [lease.fencing_token for lease in reply.leases] == [5]


async def test_a_fixed_shard_count_wins_over_the_recommendation(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader("--shard-count", "8")
        worker = await fleet.worker("a")
        assert len((await worker.register("auto")).leases) == 8


async def test_what_happens_to_leases_is_broadcast(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader()
        heard = await fleet.listen("#")
        worker = await fleet.worker("a")
        await worker.register("0-1")
        await worker.hold(0, 1)
        await worker.release(1, session(3))
        await worker.die()
        seen: list[messages.Message] = []
        async with asyncio.timeout(10):
            while not (seen and isinstance(seen[-1], messages.WorkerDead)):
                seen.append(await heard.get())
        granted = [one.shard for one in seen if isinstance(one, messages.LeaseGranted) and not one.resumes]
        assert granted[:2] == [0, 1]
        assert any(isinstance(one, messages.LeaseReleased) and one.shard == 1 for one in seen)
        assert isinstance(seen[-1], messages.WorkerDead)
        assert seen[-1].worker_id == "a"
        assert 0 in seen[-1].shards


async def test_the_state_shows_shards_workers_and_the_identify_budget(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace, DiscordStandIn(remaining=900)) as fleet:
        await fleet.leader()
        worker = await fleet.worker("a")
        await worker.register("0-1", capacity=2)
        await worker.hold(0, 1)
        await worker.leave()
        state = await worker.coordinator.state()
        assert (state.identifies_remaining, state.identifies_total) == (900, 1000)
        assert 3500 < state.identifies_reset_after_s < 3700
        assert [(one.shard, one.worker_id, one.state) for one in state.shards] == [
            (0, "a", "connected"),
            (1, "a", "connected"),
            (2, None, "free"),
            (3, None, "free"),
        ]
        shown = state.workers[0]
        assert (shown.worker_id, shown.shards, shown.capacity, shown.held, shown.draining) == (
            "a",
            "0-1",
            2,
            (0, 1),
            True,
        )


async def test_sigterm_ends_a_leader_cleanly_and_the_stand_by_goes_on(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader()
        successor = await fleet.coordinator()
        worker = await fleet.worker("a")
        await worker.register("0")
        await successor.logged("connected")
        leader.signal(signal.SIGTERM)
        assert await leader.wait() == 0
        state = await worker.coordinator.state()
        assert state.workers == ()
        await successor.logged("leading")


async def test_a_free_shard_that_is_not_granted_is_named(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader()
        stranger, worker = await fleet.worker("stranger"), await fleet.worker("a")
        await stranger.bind(2)  # so it could publish
        assert [lease.shard for lease in (await worker.register("1-2")).leases] == [1]
        await leader.logged("ungranted")
        (line,) = [line for line in leader.log.splitlines() if '"action":"ungranted"' in line]
        assert '"shards":"2"' in line
