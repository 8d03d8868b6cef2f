"""Whatever is deleted on the broker under a running coordinator comes back, and with it grants and burials."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aio_pika
import pytest

from eventbus import messages
from eventbus.amqp.group_queues import CommandExchange
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient
from eventbus.errors import BrokerLostError, RelayError, UnroutableError
from eventbus.names import Names
from tests.wire.coordinator_rig import rig, until

if TYPE_CHECKING:
    from eventbus.amqp.broker import Broker
    from tests.wire.coordinator_rig import CoordinatorProcess, HandWorker, Rig

RECOVERY_S = 25.0
"""Its parts: noticed within about 1 s, connected within 1 s, learned for 6 s; the rest is a busy machine's."""


async def delete(fleet: Rig, name: str) -> None:
    names = Names(fleet.namespace)
    async with await aio_pika.connect(fleet.url) as connection:
        channel = await connection.channel()
        if name in ("sessions", "coordinator"):
            await channel.queue_delete(getattr(names, name))
        else:
            await channel.exchange_delete(getattr(names, name))


async def registered(worker: HandWorker, shards: str) -> tuple[messages.Lease, ...]:
    """What it should hold; nothing while nobody answers."""
    try:
        request = messages.Register(worker_id=worker.id, shards=shards, held=tuple(worker.held.values()))
        return (await worker.coordinator.call(request, messages.Leases)).leases
    except RelayError:
        return ()


async def both_granted(old: HandWorker, new: HandWorker) -> bool:
    kept = {lease.shard: lease.fencing_token for lease in await registered(old, "0-1")}
    granted = {lease.shard for lease in await registered(new, "2-3")}
    return granted == {2, 3} and kept == {shard: held.fencing_token for shard, held in old.held.items()}


async def fleet_works(leader: CoordinatorProcess, old: HandWorker, new: HandWorker) -> None:
    """`old` keeps what it holds, `new` is granted the rest; when `old` dies it is buried and `new` gets all."""
    await until(lambda: both_granted(old, new), timeout_s=RECOVERY_S)
    await old.die()
    await leader.logged("worker_dead")

    async def inherits() -> bool:
        return {lease.shard for lease in await registered(new, "0-3")} == {0, 1, 2, 3}

    await until(inherits, timeout_s=RECOVERY_S)


@pytest.mark.parametrize(
    "name", ["sessions", "coordinator", *(pytest.param(name, marks=pytest.mark.long) for name in ("holder", "control"))]
)
async def test_the_control_plane_survives_the_deletion_of(name: str, broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader()
        old, new = await fleet.worker("old"), await fleet.worker("new")
        await old.register("0-1")
        await old.hold(0, 1)
        await delete(fleet, name)
        await registered(new, "2-3")  # its grant asks `ns.holder`, and is told on `ns.control`
        await leader.logged("link_restart")
        await fleet_works(leader, old, new)
        told = await fleet.listen("lease.released")
        await new.hold(3)
        await new.release(3)
        async with asyncio.timeout(RECOVERY_S):
            assert (await told.get()).shard == 3
        assert "Traceback" not in leader.log


async def test_a_stand_by_that_takes_over_after_the_stream_was_deleted_leads(broker_url: str, namespace: str) -> None:
    async with rig(broker_url, namespace) as fleet:
        leader = await fleet.leader()
        stand_by = await fleet.coordinator()
        await stand_by.logged("connected")
        old, new = await fleet.worker("old"), await fleet.worker("new")
        await old.register("0-1")
        await old.hold(0, 1)
        await delete(fleet, "sessions")
        leader.signal(9)
        await leader.wait()
        await fleet_works(stand_by, old, new)


async def called(rpc: RpcClient, names: Names) -> BaseException | None:
    try:
        await rpc.call(exchange=names.shard, routing_key="0", body=b"{}", timeout_s=5.0)
    except RelayError as error:
        return error
    return None


async def test_a_command_into_a_deleted_exchange_fails_alone(
    broker: Broker, names: Names, observer: aio_pika.abc.AbstractChannel
) -> None:
    link = Link(broker, name="commander")
    rpc = RpcClient(link)
    CommandExchange(link, names)
    await link.open(timeout_s=15)
    keeping = asyncio.create_task(link.keep())
    await observer.exchange_delete(names.shard)
    assert isinstance(await called(rpc, names), BrokerLostError)

    async def is_told_that_nobody_is_there() -> bool:
        return isinstance(await called(rpc, names), UnroutableError)

    await until(is_told_that_nobody_is_there, timeout_s=15)
    keeping.cancel()
    await asyncio.wait([keeping])
    await link.close()
