"""The publisher over a broker that comes and goes: in order, nothing lost, nothing before the leases are valid."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from pamqp import commands, frame

from eventbus import messages
from eventbus.amqp import link, publish_topology, raw_connection
from eventbus.amqp.broker import Broker
from eventbus.amqp.publish_connection import PublishConnection
from eventbus.amqp.rpc import is_bound
from eventbus.errors import BrokerLostError, BrokerRefusedError, BrokerUnreachableError
from eventbus.names import INTERACTION_CREATE
from gateway_workers import publisher
from gateway_workers.publisher import ENTRY_BYTES, DispatchPublisher
from gateway_workers.topology import EventTypeRefusedError, WorkerTopology
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

    from eventbus.names import Names
    from gateway_workers.outlet import Outlet
    from tests.tcp_proxy import TcpProxy

TIMEOUT_S = 15
TYPE = "MESSAGE_CREATE"


class Rig:
    """A publisher behind the proxy, and all that reaches a queue bound to its event exchange."""

    def __init__(self, publisher: DispatchPublisher) -> None:
        self.publisher = publisher
        self.arrived: list[AbstractIncomingMessage] = []
        self.revalidations = 0
        self.revalidate: Callable[[], Awaitable[None]] | None = None
        self.keeping: asyncio.Task[None] | None = None

    async def on_revalidate(self) -> None:
        self.revalidations += 1
        if self.revalidate is not None:
            await self.revalidate()

    def outlet(self, shard: int = 3, seq: int = 0) -> Outlet:
        return self.publisher.outlet(shard=shard, shard_count=4, fencing_token=7, seq=seq)

    def ids(self) -> list[str]:
        return [message.message_id or "" for message in self.arrived]

    def first_ids(self) -> list[str]:
        """Each id once, at its first arrival."""
        return list(dict.fromkeys(self.ids()))


def publish(outlet: Outlet, seqs: range, *, session: str = "s", size: int = 20) -> None:
    for seq in seqs:
        body = b'{"n":%d}' % seq
        outlet.publish(
            TYPE, body.ljust(size), seq=seq, session_id=session, replayed=seq % 2 == 0, received_at=float(seq)
        )


def interact(outlet: Outlet, seq: int) -> None:
    outlet.publish(INTERACTION_CREATE, b"{}", seq=seq, session_id="s", replayed=False, received_at=1.0)


def expected(seqs: range, session: str = "s") -> list[str]:
    return [f"{session}:{seq}" for seq in seqs]


@contextlib.asynccontextmanager
async def running(
    broker: Broker, names: Names, observer: AbstractChannel, *, max_count: int = 1000, max_bytes: int = 8 << 20
) -> AsyncIterator[Rig]:
    publisher = DispatchPublisher(broker, names, worker_id="w", max_count=max_count, max_bytes=max_bytes)
    rig = Rig(publisher)
    await publisher.open(timeout_s=TIMEOUT_S)
    rig.keeping = asyncio.create_task(publisher.keep(rig.on_revalidate))
    await publisher.hold(3)
    await rig.outlet().prepare(TYPE)
    queue = await observer.declare_queue(f"{names.namespace}.test", durable=True, arguments={"x-queue-type": "quorum"})
    await queue.bind(names.event(TYPE), "#")

    async def take(message: AbstractIncomingMessage) -> None:
        rig.arrived.append(message)

    consumer = await queue.consume(take, no_ack=True)
    try:
        yield rig
    finally:
        await queue.cancel(consumer)
        await queue.delete(if_unused=False, if_empty=False)
        rig.keeping.cancel()
        await asyncio.wait([rig.keeping])
        await publisher.close()


@pytest.fixture
async def rig(broker: Broker, names: Names, observer: AbstractChannel) -> AsyncIterator[Rig]:
    async with running(broker, names, observer) as started:
        yield started


async def drained(rig: Rig, outlet: Outlet) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        await rig.publisher.drained(outlet)


async def test_dispatches_arrive_in_order_with_their_properties(rig: Rig) -> None:
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    publish(outlet, range(1, 301))
    await drained(rig, outlet)
    await eventually(lambda: len(rig.arrived) == 300)
    assert rig.ids() == expected(range(1, 301))
    message = rig.arrived[1]
    assert message.body == b'{"n":2}'.ljust(20)
    assert (message.type, message.content_type, message.routing_key) == (TYPE, "application/json", "3")
    assert message.delivery_mode == 2
    assert message.headers == {
        "shard": 3,
        "shard_count": 4,
        "fencing_token": 7,
        "replayed": True,
        "received_at": 2.0,
        "resumed_from": 0,
    }
    assert outlet.mark.confirmed == 300
    assert rig.publisher.backlog == (0, 0)


async def collect_interactions_too(outlet: Outlet, names: Names, observer: AbstractChannel) -> None:
    await outlet.prepare(TYPE)
    await outlet.prepare(INTERACTION_CREATE)
    queue = await observer.get_queue(f"{names.namespace}.test")
    await queue.bind(names.event(INTERACTION_CREATE), "#")


async def test_an_interaction_overtakes_what_waits_and_all_is_confirmed(
    rig: Rig, names: Names, observer: AbstractChannel
) -> None:
    outlet = rig.outlet()
    await collect_interactions_too(outlet, names, observer)
    publish(outlet, range(1, 901))
    interact(outlet, 901)
    await drained(rig, outlet)
    await eventually(lambda: len(rig.arrived) == 901)
    assert rig.ids().index("s:901") < 600
    assert [one for one in rig.ids() if one != "s:901"] == expected(range(1, 901))
    assert (outlet.mark.confirmed, rig.publisher.backlog) == (901, (0, 0))


async def test_both_channels_lose_nothing_and_keep_their_order_when_the_broker_is_lost(
    broker: Broker, names: Names, observer: AbstractChannel, proxy: TcpProxy
) -> None:
    async with running(broker, names, observer) as rig:
        outlet = rig.outlet()
        await collect_interactions_too(outlet, names, observer)
        for seq in range(1, 601):
            if seq == 300:
                proxy.stall()
            if seq % 3:
                publish(outlet, range(seq, seq + 1))
            else:
                interact(outlet, seq)
            await asyncio.sleep(0)
        proxy.cut()
        proxy.resume()
        await drained(rig, outlet)
        await eventually(lambda: set(rig.ids()) == set(expected(range(1, 601))))
        for kind in (TYPE, INTERACTION_CREATE):
            seqs = [int((one.message_id or "")[2:]) for one in rig.arrived if one.type == kind]
            assert list(dict.fromkeys(seqs)) == sorted(set(seqs))
        assert outlet.mark.confirmed == 600


async def test_a_dispatch_bigger_than_a_frame_arrives_whole(rig: Rig) -> None:
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    publish(outlet, range(1, 4), size=600_000)
    await drained(rig, outlet)
    await eventually(lambda: len(rig.arrived) == 3)
    assert [len(message.body) for message in rig.arrived] == [600_000] * 3


async def test_types_that_nobody_bound_are_confirmed_all_the_same(rig: Rig) -> None:
    outlet = rig.outlet()
    await outlet.prepare("PRESENCE_UPDATE")
    outlet.publish("PRESENCE_UPDATE", b"{}", seq=9, session_id="s", replayed=False, received_at=1.0)
    await drained(rig, outlet)
    assert outlet.mark.confirmed == 9


@pytest.mark.parametrize("bad", ["", "message", "A.B", "#", "A" * 65])
async def test_a_name_that_is_no_event_type_is_refused(rig: Rig, bad: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a gateway event"):
        await rig.outlet().prepare(bad)


async def test_a_stalled_broker_fills_the_window_and_room_comes_back_with_it(
    broker: Broker, names: Names, observer: AbstractChannel, proxy: TcpProxy
) -> None:
    async with running(broker, names, observer, max_count=50) as rig:
        outlet = rig.outlet()
        await outlet.prepare(TYPE)
        proxy.stall()
        publish(outlet, range(1, 51))
        assert rig.publisher.is_full
        waiting = asyncio.create_task(rig.publisher.room())
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()
        proxy.resume()
        async with asyncio.timeout(TIMEOUT_S):
            await waiting
        assert not rig.publisher.is_full
        await drained(rig, outlet)
        await eventually(lambda: rig.ids() == expected(range(1, 51)))


async def test_the_window_is_bounded_by_bytes_too(
    broker: Broker, names: Names, observer: AbstractChannel, proxy: TcpProxy
) -> None:
    async with running(broker, names, observer, max_bytes=100_000) as rig:
        outlet = rig.outlet()
        await outlet.prepare(TYPE)
        proxy.stall()
        publish(outlet, range(1, 4), size=40_000)
        assert rig.publisher.is_full
        proxy.resume()
        await drained(rig, outlet)
        assert not rig.publisher.is_full


async def test_small_dispatches_fill_the_window_with_what_python_takes_for_each(
    broker: Broker, names: Names, observer: AbstractChannel, proxy: TcpProxy
) -> None:
    async with running(broker, names, observer, max_count=1_000_000, max_bytes=100_000) as rig:
        outlet = rig.outlet()
        await outlet.prepare(TYPE)
        proxy.stall()
        seq = 0
        while not rig.publisher.is_full:
            seq += 1
            publish(outlet, range(seq, seq + 1), size=10)
        count, byte_count = rig.publisher.backlog
        assert byte_count < 100_000 <= byte_count + count * ENTRY_BYTES
        proxy.resume()
        await drained(rig, outlet)


@pytest.mark.long
async def test_on_a_slow_link_the_broker_vouches_late_and_the_connection_lives(
    rig: Rig, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish_topology, "PROOF_SILENCE_S", 3.0)  # the broker's heartbeats come every 2.5 s
    monkeypatch.setattr(raw_connection, "METHOD_TIMEOUT_S", 3.0)
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    proxy.chunk_delay_s = 0.25
    publish(outlet, range(1, 26), size=200_000)  # 20 s at 256 KiB/s
    async with asyncio.timeout(60):
        await rig.publisher.vouched()
        await rig.publisher.drained(outlet)
    await eventually(lambda: rig.ids() == expected(range(1, 26)))
    assert rig.revalidations == 0


async def test_everybody_who_waits_for_room_gets_it(
    broker: Broker, names: Names, observer: AbstractChannel, proxy: TcpProxy
) -> None:
    async with running(broker, names, observer, max_count=10) as rig:
        outlet = rig.outlet()
        await outlet.prepare(TYPE)
        proxy.stall()
        publish(outlet, range(1, 11))
        waiting = [asyncio.create_task(rig.publisher.room()) for _ in range(5)]
        await asyncio.sleep(0)
        proxy.resume()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*waiting)


async def test_a_cut_connection_loses_nothing_and_keeps_the_order(rig: Rig, proxy: TcpProxy) -> None:
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    publish(outlet, range(1, 201))
    await asyncio.sleep(0)
    proxy.cut()
    publish(outlet, range(201, 301))
    await drained(rig, outlet)
    await eventually(lambda: len(set(rig.ids())) == 300)
    assert rig.first_ids() == expected(range(1, 301))
    assert rig.revalidations >= 1


async def test_what_the_broker_never_saw_is_published_once_and_in_order(rig: Rig, proxy: TcpProxy) -> None:
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    proxy.stall()
    publish(outlet, range(1, 101))
    await asyncio.sleep(0)
    proxy.cut()
    proxy.resume()
    await drained(rig, outlet)
    await eventually(lambda: len(rig.arrived) >= 100)
    assert rig.ids() == expected(range(1, 101))


async def test_many_cuts_in_a_row_lose_nothing(rig: Rig, proxy: TcpProxy) -> None:
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    for batch in range(5):
        publish(outlet, range(batch * 100 + 1, batch * 100 + 101))
        count = proxy.connection_count
        await asyncio.sleep(0)
        proxy.cut()
        await proxy.until_connections(count + 1)
    await drained(rig, outlet)
    await eventually(lambda: len(set(rig.ids())) == 500)
    assert rig.first_ids() == expected(range(1, 501))
    assert outlet.mark.confirmed == 500


async def test_not_a_byte_is_published_before_the_leases_are_valid(rig: Rig, proxy: TcpProxy) -> None:
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    asked, answered = asyncio.Event(), asyncio.Event()

    async def revalidate() -> None:
        asked.set()
        await answered.wait()

    rig.revalidate = revalidate
    proxy.stall()
    publish(outlet, range(1, 11))
    await asyncio.sleep(0)
    proxy.cut()
    proxy.resume()
    async with asyncio.timeout(TIMEOUT_S):
        await asked.wait()
    before = proxy.sent_bytes
    publish(outlet, range(11, 21))
    await asyncio.sleep(0.2)
    assert proxy.sent_bytes == before
    assert rig.arrived == []
    answered.set()
    await drained(rig, outlet)
    await eventually(lambda: len(rig.arrived) == 20)
    assert rig.ids() == expected(range(1, 21))


async def test_a_revalidation_that_fails_is_tried_again_on_a_new_connection(rig: Rig, proxy: TcpProxy) -> None:
    outlet = rig.outlet()
    await outlet.prepare(TYPE)

    async def revalidate() -> None:
        if rig.revalidations < 3:
            raise BrokerLostError("no coordinator answers")

    rig.revalidate = revalidate
    proxy.stall()
    publish(outlet, range(1, 11))
    await asyncio.sleep(0)
    proxy.cut()
    proxy.resume()
    await drained(rig, outlet)
    assert rig.revalidations == 3
    await eventually(lambda: len(rig.arrived) == 10)
    assert rig.ids() == expected(range(1, 11))


async def test_a_lease_lost_at_revalidation_publishes_nothing_more_and_the_others_go_on(
    rig: Rig, proxy: TcpProxy
) -> None:
    lost, kept = rig.outlet(1), rig.outlet(2)
    await lost.prepare(TYPE)
    await kept.prepare(TYPE)

    async def revalidate() -> None:
        rig.publisher.drop(lost)

    rig.revalidate = revalidate
    proxy.stall()
    publish(lost, range(1, 21), session="lost")
    publish(kept, range(1, 21), session="kept")
    await asyncio.sleep(0)
    proxy.cut()
    proxy.resume()
    await drained(rig, kept)
    await eventually(lambda: len(rig.arrived) == 20)
    assert rig.ids() == expected(range(1, 21), "kept")
    assert rig.publisher.backlog == (0, 0)


async def test_a_lease_lost_while_its_publishes_were_under_way_is_not_published_again(
    rig: Rig, proxy: TcpProxy
) -> None:
    lost, kept = rig.outlet(1), rig.outlet(2)
    await lost.prepare(TYPE)
    await kept.prepare(TYPE)
    proxy.stall()
    publish(lost, range(1, 21), session="lost")
    publish(kept, range(1, 21), session="kept")
    await asyncio.sleep(0)
    rig.publisher.drop(lost)
    proxy.cut()
    proxy.resume()
    await drained(rig, kept)
    await eventually(lambda: len(rig.arrived) == 20)
    assert rig.ids() == expected(range(1, 21), "kept")


# What somebody deletes or takes


async def bind_again_when_told(names: Names, observer: AbstractChannel) -> list[str]:
    """As a consumer does: bind to what comes back; the event types that did."""
    restored: list[str] = []
    queue = await observer.get_queue(f"{names.namespace}.test")
    control = await observer.declare_exchange(names.control, type="topic", durable=True)
    told = await observer.declare_queue(exclusive=True)
    await told.bind(control, "exchange.restored")

    async def on_told(message: AbstractIncomingMessage) -> None:
        event = messages.decode(messages.control_event, message.body)
        assert isinstance(event, messages.ExchangeRestored)
        await queue.bind(names.event(event.event_type), "#")
        restored.append(event.event_type)

    await told.consume(on_told, no_ack=True)
    return restored


@pytest.fixture
def patient_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever binds again has more time for it than a second: a machine that does much else."""
    monkeypatch.setattr(publisher, "RESTORED_HOLD_S", 5.0)


@pytest.mark.usefixtures("patient_publisher")
async def test_a_deleted_event_exchange_comes_back_is_announced_and_nothing_is_lost(
    rig: Rig, names: Names, observer: AbstractChannel
) -> None:
    restored = await bind_again_when_told(names, observer)
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    publish(outlet, range(1, 11))
    await drained(rig, outlet)
    await observer.exchange_delete(names.event(TYPE))
    publish(outlet, range(11, 21))
    await drained(rig, outlet)
    assert outlet.mark.confirmed == 20
    await eventually(lambda: rig.first_ids() == expected(range(1, 21)))
    assert restored == [TYPE]


@pytest.mark.usefixtures("patient_publisher")
async def test_an_event_exchange_that_was_deleted_while_the_link_was_down_is_announced_too(
    rig: Rig, names: Names, observer: AbstractChannel, proxy: TcpProxy
) -> None:
    restored = await bind_again_when_told(names, observer)
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    proxy.refuse()
    await observer.exchange_delete(names.event(TYPE))
    publish(outlet, range(1, 11))
    proxy.accept()
    await drained(rig, outlet)
    await eventually(lambda: rig.ids() == expected(range(1, 11)))
    assert restored == [TYPE]


async def test_a_deleted_stream_and_a_deleted_holder_exchange_come_back_by_themselves(
    rig: Rig, names: Names, observer: AbstractChannel
) -> None:
    await observer.queue_delete(names.sessions)
    await observer.exchange_delete(names.holder)
    connections = rig.revalidations
    await eventually(lambda: _is_there(observer, names))
    assert await is_bound(observer, "", names.sessions)
    assert rig.revalidations == connections


@contextlib.asynccontextmanager
async def holding(
    broker: Broker, names: Names, *shards: int
) -> AsyncIterator[tuple[WorkerTopology, PublishConnection]]:
    """A topology whose checks the test makes itself."""
    connection = await PublishConnection.open(broker, name="w", on_confirm=lambda *_: None, on_writable=lambda: None)
    topology = WorkerTopology(names, worker_id="w")
    await topology.set_up(connection.topology)
    for shard in shards:
        await topology.hold(connection.topology, shard)
    yield topology, connection
    await connection.close()


async def unbound(observer: AbstractChannel, names: Names, *shards: int) -> list[int]:
    return [shard for shard in shards if not await is_bound(observer, names.holder, str(shard))]


@pytest.mark.parametrize("is_declared_by_others", [True, False])
async def test_one_check_brings_all_proofs_of_holding_back(
    broker: Broker, names: Names, observer: AbstractChannel, is_declared_by_others: bool
) -> None:
    shards = range(60)
    async with holding(broker, names, *shards) as (topology, connection):
        await observer.exchange_delete(names.holder)
        if is_declared_by_others:
            await observer.declare_exchange(names.holder, type="direct", durable=True)
        await topology.check(connection.topology)
        assert await unbound(observer, names, *shards) == []


async def test_a_proof_that_an_alarm_kept_from_ending_ends_at_the_next_check(
    broker: Broker, names: Names, observer: AbstractChannel
) -> None:
    async with holding(broker, names, 1, 2, 3) as (topology, connection):
        connection.data_received(frame.marshal(commands.Connection.Blocked("low on memory"), 0))
        for shard in (1, 2):
            with pytest.raises(BrokerLostError, match="alarm"):
                await topology.let_go(connection.topology, shard)
        connection.data_received(frame.marshal(commands.Connection.Unblocked(), 0))
        await topology.hold(connection.topology, 2)
        await topology.check(connection.topology)
        assert await unbound(observer, names, 1, 2, 3) == [1]


async def _is_there(observer: AbstractChannel, names: Names) -> bool:
    await observer.declare_exchange(names.holder, type="direct", durable=True)
    return await is_bound(observer, names.holder, "3") and await is_bound(observer, "", names.sessions)


async def test_a_foreign_exchange_refuses_its_own_type_once_and_no_other(
    rig: Rig, names: Names, observer: AbstractChannel, caplog: pytest.LogCaptureFixture
) -> None:
    await observer.declare_exchange(names.event("TYPING_START"), type="fanout", durable=True)
    outlet = rig.outlet()
    for _ in range(3):
        with pytest.raises(EventTypeRefusedError, match="TYPING_START"):
            await outlet.prepare("TYPING_START")
    await outlet.prepare(TYPE)
    publish(outlet, range(1, 4))
    await drained(rig, outlet)
    await eventually(lambda: rig.ids() == expected(range(1, 4)))
    assert rig.revalidations == 0
    said = [record for record in caplog.records if getattr(record, "action", "") == "type_refused"]
    assert len(said) == 1
    assert names.event("TYPING_START") in said[0].reason  # type: ignore[attr-defined]


async def test_an_exchange_that_takes_nothing_from_us_is_left_and_the_other_types_go_on(
    rig: Rig, names: Names, observer: AbstractChannel
) -> None:
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    await outlet.prepare("TYPING_START")
    await observer.exchange_delete(names.event("TYPING_START"))
    await observer.declare_exchange(names.event("TYPING_START"), type="topic", durable=True, internal=True)
    publish(outlet, range(1, 4))
    outlet.publish("TYPING_START", b"{}", seq=4, session_id="s", replayed=False, received_at=1.0)
    await drained(rig, outlet)
    publish(outlet, range(5, 8))
    await drained(rig, outlet)
    await eventually(lambda: rig.first_ids() == expected(range(1, 4)) + expected(range(5, 8)))
    assert (outlet.mark.confirmed, rig.publisher.refused_count, rig.revalidations) == (7, 1, 1)
    assert not outlet.knows("TYPING_START")


async def test_the_first_dispatch_of_a_type_waits_for_the_broker(rig: Rig, proxy: TcpProxy, names: Names) -> None:
    proxy.refuse()
    outlet = rig.outlet()
    preparing = asyncio.create_task(outlet.prepare("GUILD_CREATE"))
    await asyncio.wait([preparing], timeout=0.3)
    assert not preparing.done()
    proxy.accept()
    async with asyncio.timeout(TIMEOUT_S):
        await preparing
    assert outlet.knows("GUILD_CREATE")
    assert names.event("GUILD_CREATE")


async def test_the_broker_vouches_for_what_is_held_and_again_after_a_cut(
    rig: Rig, proxy: TcpProxy, names: Names, observer: AbstractChannel
) -> None:
    assert await is_bound(observer, names.holder, "3")
    proxy.cut()
    await eventually(lambda: rig.revalidations == 1)
    assert await is_bound(observer, names.holder, "3")
    await rig.publisher.let_go(3)
    assert not await is_bound(observer, names.holder, "3")
    proxy.cut()
    await eventually(lambda: rig.revalidations == 2)
    assert not await is_bound(observer, names.holder, "3")


async def test_shards_taken_and_given_back_during_a_reconnect_are_vouched_for_rightly(
    rig: Rig, proxy: TcpProxy, names: Names, observer: AbstractChannel
) -> None:
    for shard in range(100, 150):
        await rig.publisher.hold(shard)
    proxy.cut()
    taken = 0
    for step in range(500):
        if rig.revalidations:
            break
        with contextlib.suppress(BrokerLostError):
            await rig.publisher.hold(200 + step)
        with contextlib.suppress(BrokerLostError):
            await rig.publisher.let_go(100 + step % 50)
        taken = step
        await asyncio.sleep(0.001)
    await eventually(lambda: rig.revalidations)
    assert taken > 0
    assert rig.keeping is not None
    assert not rig.keeping.done()
    held = [200 + step for step in range(taken + 1)]
    assert [shard for shard in held if not await is_bound(observer, names.holder, str(shard))] == []
    given = [100 + step % 50 for step in range(min(taken + 1, 50))]
    assert [shard for shard in given if await is_bound(observer, names.holder, str(shard))] == []


async def test_a_closed_publisher_leaves_no_proof_of_life(
    broker: Broker, names: Names, observer: AbstractChannel
) -> None:
    async with running(broker, names, observer) as rig:
        assert await is_bound(observer, "", names.worker("w"))
        assert rig.keeping is not None
        rig.keeping.cancel()
        await rig.publisher.close()
        assert not await is_bound(observer, "", names.worker("w"))
        assert not await is_bound(observer, names.holder, "3")


# The first connection


async def test_the_first_connection_is_tried_until_the_broker_is_there(
    broker: Broker, names: Names, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "MAX_BACKOFF_S", 0.2)
    proxy.refuse()
    publisher = DispatchPublisher(broker, names, worker_id="w", max_count=10, max_bytes=1000)
    opening = asyncio.create_task(publisher.open(timeout_s=TIMEOUT_S))
    await asyncio.wait([opening], timeout=0.5)
    assert not opening.done()
    proxy.accept()
    async with asyncio.timeout(TIMEOUT_S):
        await opening
    await publisher.close()


async def test_a_broker_that_never_comes_ends_the_wait_with_one_sentence(
    broker: Broker, names: Names, proxy: TcpProxy
) -> None:
    proxy.refuse()
    publisher = DispatchPublisher(broker, names, worker_id="w", max_count=10, max_bytes=1000)
    with pytest.raises(BrokerUnreachableError, match="start it, or set AMQP_URL"):
        await publisher.open(timeout_s=0.3)


async def test_a_refused_login_is_not_tried_again(names: Names, broker_url: str) -> None:
    wrong = Broker(broker_url.replace("://", "://x", 1))
    publisher = DispatchPublisher(wrong, names, worker_id="w", max_count=10, max_bytes=1000)
    async with asyncio.timeout(5):
        with pytest.raises(BrokerRefusedError, match="refused the login"):
            await publisher.open(timeout_s=60)


async def test_a_broker_that_freezes_is_left_for_a_new_connection(
    broker: Broker, names: Names, observer: AbstractChannel, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PublishConnection, "heartbeat_s", 1)
    async with running(broker, names, observer) as rig:
        outlet = rig.outlet()
        await outlet.prepare(TYPE)
        count = proxy.connection_count
        proxy.stall()
        publish(outlet, range(1, 101))
        await proxy.until_connections(count + 1)
        proxy.resume()
        await drained(rig, outlet)
        await eventually(lambda: len(set(rig.ids())) == 100)
        assert rig.first_ids() == expected(range(1, 101))


# A session that began while the one before it was under way


async def test_an_outlet_is_drained_when_the_session_before_is_confirmed_too(rig: Rig, proxy: TcpProxy) -> None:
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    proxy.stall()
    publish(outlet, range(1, 11), session="old")
    outlet.new_session()
    assert not outlet.is_drained
    proxy.resume()
    await drained(rig, outlet)
    assert rig.publisher.backlog == (0, 0)
    assert outlet.mark.confirmed == 0


@pytest.mark.parametrize("ends_by", ["drop", "withdraw"])
async def test_what_is_left_of_a_lost_lease_goes_with_the_session_before_it(
    rig: Rig, proxy: TcpProxy, ends_by: str
) -> None:
    lost, kept = rig.outlet(1), rig.outlet(2)
    await lost.prepare(TYPE)
    await kept.prepare(TYPE)
    proxy.stall()
    publish(lost, range(1, 11), session="old")
    lost.new_session()
    await lost.prepare(TYPE)
    publish(lost, range(1, 6), session="new")
    publish(kept, range(1, 21), session="kept")
    await asyncio.sleep(0)
    if ends_by == "drop":
        rig.publisher.drop(lost)
        proxy.cut()
    else:
        rig.publisher.withdraw(lost)
    assert lost.is_drained
    proxy.cut()
    proxy.resume()
    await drained(rig, kept)
    await eventually(lambda: len(rig.arrived) == 20)
    assert rig.ids() == expected(range(1, 21), "kept")


async def test_a_lease_withdrawn_with_only_the_session_before_on_its_way_cuts_it_off(rig: Rig, proxy: TcpProxy) -> None:
    outlet = rig.outlet()
    await outlet.prepare(TYPE)
    proxy.stall()
    publish(outlet, range(1, 11), session="old")
    outlet.new_session()
    await asyncio.sleep(0)
    rig.publisher.withdraw(outlet)
    proxy.cut()
    proxy.resume()
    await eventually(lambda: rig.revalidations == 1)
    assert rig.arrived == []
    assert rig.publisher.backlog == (0, 0)
