"""Shards that move at the coordinator's request: a real coordinator, workers by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from eventbus import messages
from eventbus.errors import RemoteError
from tests.wire.coordinator_rig import rig, until

if TYPE_CHECKING:
    from tests.wire.coordinator_rig import HandWorker


def session(shard: int) -> messages.Session:
    return messages.Session(session_id=f"s{shard}", resume_url="wss://resume", seq=7, shard_count=4)


async def poked(worker: HandWorker) -> None:
    async with asyncio.timeout(20):
        while not isinstance(await worker.inbox.get(), messages.Poke):
            pass


async def hold_with_sessions(worker: HandWorker, *shards: int) -> None:
    """Hold `shards`, connected."""
    await worker.hold(*shards)
    for shard in shards:
        worker.held[shard] = worker.held[shard].model_copy(update={"session": session(shard)})
    await worker.renew()


async def drain(worker: HandWorker, worker_id: str) -> messages.DrainProgress:
    """An operator's request, over this worker's connection."""
    return await worker.coordinator.call(messages.Drain(worker_id=worker_id), messages.DrainProgress)


async def test_a_drained_worker_is_asked_for_its_shards_and_the_other_one_gets_them(
    broker_url: str, namespace: str
) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader("--rebalance-after", "0")
        giver, receiver = await fleet.worker("a"), await fleet.worker("b")
        await giver.register("auto")
        await hold_with_sessions(giver, 0, 1, 2, 3)
        await receiver.register("auto")

        progress = await drain(receiver, "a")
        assert (progress.held, progress.stuck) == ((0, 1, 2, 3), ())
        await poked(giver)
        reply = await giver.renew()
        assert (reply.hand_over, reply.draining) == ((0,), True)  # the first one alone
        assert len(reply.leases) == 4
        assert (await giver.renew()).hand_over == (0,)  # said again, until it is done
        assert (await receiver.renew()).leases == ()

        await giver.release(0, session(0))
        await poked(receiver)
        granted = (await receiver.renew()).leases
        assert [(lease.shard, lease.session) for lease in granted] == [(0, session(0))]
        assert (await giver.renew()).hand_over == ()  # whether `b` can connect is not known yet
        await receiver.hold(0)
        assert (await giver.renew()).hand_over == (1, 2)


async def test_a_shard_that_is_still_bound_to_its_giver_is_not_granted(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader("--rebalance-after", "0")
        giver, receiver = await fleet.worker("a"), await fleet.worker("b")
        await giver.register("0")
        await hold_with_sessions(giver, 0)
        await receiver.register("0")
        await drain(receiver, "a")
        await giver.bind(0)  # as if its unbind were late
        token = giver.held.pop(0).fencing_token
        release = messages.Release(worker_id="a", shard=0, fencing_token=token, session=session(0))
        await giver.coordinator.call(release, messages.Done)
        assert (await receiver.renew()).leases == ()
        await asyncio.sleep(1.5)  # a tick tries in vain
        assert (await receiver.renew()).leases == ()
        await giver.unbind(0)
        assert (await receiver.hold(0))[0].session == session(0)


async def test_an_even_spread_is_asked_for_shard_by_shard(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader("--rebalance-after", "0")
        giver, receiver = await fleet.worker("a"), await fleet.worker("b")
        await giver.register("auto")
        await hold_with_sessions(giver, 0, 1, 2, 3)
        await receiver.register("auto")
        await receiver.coordinator.call(messages.Rebalance(), messages.Moves)
        reply = await receiver.coordinator.call(messages.Rebalance(), messages.Moves)
        assert [(move.shard, move.giver, move.receiver, move.begun) for move in reply.moves] == [
            (0, "a", "b", True),
            (1, "a", "b", False),
        ]
        for shard in (0, 1):
            await giver.release(shard, session(shard))
            await hold_with_sessions(receiver, *range(shard + 1))
            await giver.renew()
        reply = await receiver.coordinator.call(messages.Rebalance(), messages.Moves)
        assert reply.moves == ()


async def test_a_calm_fleet_is_spread_without_being_told(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader("--rebalance-after", "2")
        giver, receiver = await fleet.worker("a"), await fleet.worker("b")
        await giver.register("auto")
        await hold_with_sessions(giver, 0, 1, 2, 3)
        await receiver.register("auto")

        async def is_asked() -> bool:
            await receiver.renew()
            return (await giver.renew()).hand_over == (0,)

        await until(is_asked)
        assert "hand_over_asked" in leader.log


async def test_what_an_operator_cannot_have_is_said(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        await fleet.leader("--rebalance-after", "0")
        worker = await fleet.worker("a")
        await worker.register("0-1")
        await worker.hold(0, 1)
        for request in (messages.Drain(worker_id="x"), messages.Undrain(worker_id="x")):
            with pytest.raises(RemoteError, match="there is no worker x; registered are: a") as caught:
                await worker.coordinator.call(request, messages.Done)
            assert caught.value.code == messages.ErrorCode.UNKNOWN_WORKER
        progress = await drain(worker, "a")
        assert (progress.held, progress.stuck) == ((0, 1), (0, 1))
        await worker.coordinator.call(messages.Undrain(worker_id="a"), messages.Done)
        assert (await worker.renew()).draining is False
        await worker.leave()
        with pytest.raises(RemoteError, match="shutting down") as caught:
            await worker.coordinator.call(messages.Undrain(worker_id="a"), messages.Done)
        assert caught.value.code == messages.ErrorCode.BAD_REQUEST
