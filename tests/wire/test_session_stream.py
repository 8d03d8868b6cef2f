"""The session stream: what coordinators and workers leave each other in it, and what is not believed."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from typing import TYPE_CHECKING

import aio_pika
import pytest

from coordinator.leadership import LEARN_S
from eventbus import messages
from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link
from eventbus.amqp.session_stream import STREAM_ARGUMENTS, SessionStream
from eventbus.errors import BrokerLostError, RemoteError
from eventbus.names import Names
from tests.waiting import eventually
from tests.wire.coordinator_rig import CoordinatorProcess, DiscordStandIn, Rig, rig, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel

    from tests.tcp_proxy import TcpProxy

FIRST_GRANT_S = 5.0
"""A killed leader's successor grants within this time."""


def session(seq: int, *, shard_count: int = 4) -> messages.Session:
    return messages.Session(session_id="abc", resume_url="ws://127.0.0.1:9/", seq=seq, shard_count=shard_count)


def checkpoints(*parts: dict[str, object], worker_id: str = "a") -> bytes:
    return json.dumps({"v": 1, "kind": "checkpoints", "worker_id": worker_id, "checkpoints": parts}).encode()


def checkpoint(shard: int, token: int, seq: int, **changes: object) -> dict[str, object]:
    of = session(1).model_dump() | {"seq": seq} | changes
    return {"shard": shard, "fencing_token": token, "session": of}


async def write(fleet: Rig, *bodies: bytes) -> None:
    """Put records into the stream as a stranger could."""
    async with await aio_pika.connect(fleet.url) as connection:
        channel = await connection.channel()
        queue = Names(fleet.namespace).sessions
        await channel.declare_queue(queue, durable=True, arguments=STREAM_ARGUMENTS)
        for body in bodies:
            await channel.default_exchange.publish(aio_pika.Message(body), queue)


async def written(fleet: Rig) -> list[dict[str, object]]:
    """All records that the stream holds now."""
    found: list[dict[str, object]] = []
    link = Link(Broker(fleet.url), name="reader")
    stream = SessionStream(link, Names(fleet.namespace))
    stream.follow(lambda record: found.append(record.model_dump()))
    await link.open(timeout_s=10)

    async def is_live() -> bool:
        return stream.is_live

    await until(is_live)
    await link.close()
    return found


def entries(process: CoordinatorProcess, action: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in process.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("action") == action]


@pytest.fixture
async def fleet(broker_url: str, namespace: str) -> AsyncIterator[Rig]:
    async with rig(broker_url, namespace) as running:
        yield running


async def killed(leader: CoordinatorProcess) -> None:
    leader.signal(signal.SIGKILL)
    await leader.wait()


# Grants outlive their coordinator


async def test_every_grant_stands_in_the_stream_when_its_worker_is_told(fleet: Rig) -> None:
    await fleet.leader()
    worker = await fleet.worker("a")
    leases = (await worker.register("0-3")).leases
    grants = [one for record in await written(fleet) if record["kind"] == "grants" for one in record["grants"]]  # type: ignore[attr-defined]
    assert [(one["shard"], one["fencing_token"], one["worker_id"]) for one in grants] == [
        (lease.shard, lease.fencing_token, "a") for lease in leases
    ]


async def test_a_successor_confirms_no_older_lease_although_the_newer_one_was_never_reported(fleet: Rig) -> None:
    first = await fleet.leader()
    old, new = await fleet.worker("old"), await fleet.worker("new")
    await old.register("0")
    stale = (await old.hold(0))[0]
    await new.register("0")
    await old.close_publishing()
    granted = (await new.hold(0))[0]
    await killed(first)
    second = await fleet.coordinator()
    await second.logged("leading")
    await old.open_publishing()
    assert (await old.register("0")).leases == ()  # `new` has not been heard yet
    with pytest.raises(RemoteError) as caught:
        await old.release(0, session(5))
    assert caught.value.code == messages.ErrorCode.STALE_LEASE
    reported = (await new.register("0")).leases
    assert [lease.fencing_token for lease in reported] == [granted.fencing_token]
    assert granted.fencing_token > stale.fencing_token


async def test_a_fleet_that_comes_back_late_keeps_its_shard_count(broker_url: str, namespace: str) -> None:
    """The coordinator starts with the broker, its worker is still in its back-off: the stream tells of its sessions."""
    async with rig(broker_url, namespace, DiscordStandIn(shards=2)) as fleet:
        await write(fleet, checkpoints(checkpoint(3, 5, 7), worker_id="a"))
        await fleet.coordinator()
        await asyncio.sleep(LEARN_S + 2)
        worker = await fleet.worker("a")
        worker.held[3] = messages.HeldLease(shard=3, fencing_token=5, session=session(7))
        await worker.bind(3)
        reply = await worker.register("0-3")
        assert reply.config.shard_count == 4
        assert [lease.fencing_token for lease in reply.leases] == [5]


async def test_a_successor_grants_anew_what_its_newest_grantee_never_reports(fleet: Rig) -> None:
    first = await fleet.leader()
    old, new = await fleet.worker("old"), await fleet.worker("new")
    await old.register("0")
    await old.hold(0)
    await new.register("0")
    await old.close_publishing()
    lost = (await new.hold(0))[0]
    await killed(first)
    await new.die()
    await fleet.leader()
    await old.open_publishing()
    await old.register("0")
    old.held.clear()
    assert (await old.hold(0))[0].fencing_token > lost.fencing_token


async def test_what_a_former_leader_wrote_late_is_void(fleet: Rig) -> None:
    await fleet.leader()
    worker = await fleet.worker("a")
    await worker.register("0")
    lease = (await worker.hold(0))[0]
    late = messages.Grant(shard=0, fencing_token=lease.fencing_token + 5, worker_id="b")
    permit = messages.PermitRecord(
        term="former", shard=0, max_concurrency=1, granted_at=time.time(), remaining=0, total=1000, reset_after_s=9.0
    )
    await write(fleet, messages.encode(messages.Grants(term="former", grants=(late,))), messages.encode(permit))
    await until(lambda: _is_read(fleet, "permit"))
    forger = await fleet.worker("b")
    forger.held[0] = messages.HeldLease(shard=0, fencing_token=late.fencing_token)
    assert (await forger.register("0")).leases == ()
    assert [one.fencing_token for one in (await worker.renew()).leases] == [lease.fencing_token]
    assert (await worker.identify(0)).granted


async def _is_read(fleet: Rig, kind: str) -> bool:
    return any(record["kind"] == kind for record in await written(fleet))


async def test_a_leader_behind_whom_another_began_begins_anew_and_keeps_every_lease(fleet: Rig) -> None:
    leader = await fleet.leader()
    worker = await fleet.worker("a")
    await worker.register("0-3")
    before = await worker.hold(0, 1, 2, 3)
    await write(fleet, messages.encode(messages.Leading(coordinator_id="other", term="other")))
    await leader.logged("deposed")
    with pytest.raises(RemoteError):  # it forgot who holds what, and asks
        await worker.renew()
    after = {lease.shard: lease for lease in (await worker.register("0-3")).leases}
    assert after == before


async def test_a_killed_leaders_stand_by_grants_within_five_seconds_and_knows_what_is_held(fleet: Rig) -> None:
    leader = await fleet.leader()
    stand_by = await fleet.coordinator()
    await stand_by.logged("connected")
    holder, dying, heir = [await fleet.worker(name) for name in ("holder", "dying", "heir")]
    await holder.register("0")
    kept = (await holder.hold(0))[0]
    await dying.register("1")
    await dying.hold(1)
    await heir.register("0-1")
    await dying.die()
    await killed(leader)
    killed_at = asyncio.get_running_loop().time()

    async def granted() -> bool:
        leases = (await heir.register("0-1")).leases
        assert 0 not in {lease.shard for lease in leases}
        return 1 in {lease.shard for lease in leases}

    await until(granted)
    assert asyncio.get_running_loop().time() - killed_at < FIRST_GRANT_S
    assert LEARN_S < FIRST_GRANT_S
    assert [one.fencing_token for one in (await holder.register("0")).leases] == [kept.fencing_token]


async def test_a_checkpoint_of_a_shard_that_nobody_holds_outlives_what_the_stream_forgets(fleet: Rig) -> None:
    leader = await fleet.leader()
    holder = await fleet.worker("holder")
    await holder.register("0")
    token = (await holder.hold(0))[0].fencing_token
    await write(fleet, checkpoints(checkpoint(0, token, 41), worker_id="holder"))
    await holder.die()
    await leader.logged("worker_dead")
    filler = json.dumps({"v": 1, "kind": "filler", "filler": "x" * 200_000}).encode()
    await write(fleet, *[filler] * 80)  # twice what the stream keeps

    async def is_written_again() -> bool:
        records = [record for record in await written(fleet) if record["kind"] == "checkpoints"]
        return any(one["shard"] == 0 for record in records for one in record["checkpoints"])  # type: ignore[attr-defined]

    await until(is_written_again)
    await killed(leader)
    await fleet.leader()
    heir = await fleet.worker("heir")
    await heir.register("0")
    assert (await heir.hold(0))[0].session == session(41)


# What is not believed


async def test_bad_records_are_reported_once_for_each_shard_and_the_good_ones_count(fleet: Rig) -> None:
    absurd = 2**53 - 1
    good = checkpoint(1, 7, 41)
    bodies = [
        b"\xff\xfe",
        b"{",
        b'{"v":9,"kind":"checkpoints"}',
        b'{"v":1,"kind":"grants","term":"x","grants":[{"shard":-1}]}',
        json.dumps(
            {"v": 1, "kind": "grants", "term": "x", "grants": [{"shard": 2, "fencing_token": absurd, "worker_id": "x"}]}
        ).encode(),
        b'{"v":1,"kind":"of a later version"}',
        *[checkpoints(good, checkpoint(2, -1, 5))] * 3,
        checkpoints(checkpoint(2, absurd, 5), checkpoint(3, 7, -5)),
        checkpoints(checkpoint(99, 7, 5)),
    ]
    await write(fleet, *bodies)
    leader = await fleet.leader()
    worker = await fleet.worker("a")
    await worker.register("0-3")
    leases = await worker.hold(0, 1, 2, 3)
    assert {shard: lease.session for shard, lease in leases.items()} == {0: None, 1: session(41), 2: None, 3: None}
    assert max(lease.fencing_token for lease in leases.values()) < absurd
    refused = entries(leader, "record_refused")
    keys = [entry["record"] for entry in refused]
    assert sorted(keys) == sorted(
        ["unreadable", "checkpoints", "grants", "grants/2", "checkpoints/2", "checkpoints/3", "checkpoints/99"]
    )
    assert all(entry["follows"] for entry in refused)
    assert refused[-1]["refused_count"] == 11
    assert "Traceback" not in leader.log


async def test_a_forged_checkpoint_hides_no_true_one(fleet: Rig) -> None:
    leader = await fleet.leader()
    holder = await fleet.worker("holder")
    await holder.register("0")
    token = (await holder.hold(0))[0].fencing_token
    true = checkpoints(checkpoint(0, token, 41), worker_id="holder")
    await write(fleet, checkpoints(checkpoint(0, token + 1, 666)), true, checkpoints(checkpoint(0, token, 667)))
    await killed(leader)
    leader = await fleet.leader()
    assert [lease.fencing_token for lease in (await holder.register("0")).leases] == [token]
    await holder.die()
    heir = await fleet.worker("heir")
    await heir.register("0")
    assert (await heir.hold(0))[0].session == session(41)
    assert [entry["record"] for entry in entries(leader, "record_refused")] == ["checkpoints/0"]


async def test_a_checkpoint_of_another_shard_count_is_reported_and_its_shard_identifies(fleet: Rig) -> None:
    await write(fleet, checkpoints(checkpoint(0, 7, 41, shard_count=8)))
    leader = await fleet.leader()
    worker = await fleet.worker("a")
    await worker.register("0")
    assert (await worker.hold(0))[0].session is None
    dropped = entries(leader, "session_dropped")
    assert [(one["shard"], one["reason"]) for one in dropped] == [(0, "it was of 8 shards: identify instead")]


# Writing


async def test_an_append_without_a_broker_fails_and_after_a_reconnect_the_stream_goes_on(
    broker: Broker, names: Names, proxy: TcpProxy
) -> None:
    link = Link(broker, name="writer")
    stream = SessionStream(link, names)
    terms: list[str] = []
    losses: list[None] = []
    stream.follow(
        lambda record: terms.append(record.term) if isinstance(record, messages.Leading) else None,
        on_loss=lambda: losses.append(None),
    )
    with pytest.raises(BrokerLostError):
        await stream.append(messages.Marker(marker_id="early"))
    await link.open(timeout_s=10)
    await stream.append(messages.Leading(coordinator_id="a", term="one"))
    keeping = asyncio.create_task(link.keep())
    proxy.cut()

    await until(lambda: appended(stream, "two"))
    assert terms[0] == "one"
    assert set(terms[1:]) == {"two"}
    assert losses == []
    keeping.cancel()
    await link.close()


async def test_a_stream_that_was_made_anew_and_has_grown_beyond_ours_while_we_were_away_is_a_loss(
    broker: Broker, names: Names, proxy: TcpProxy, observer: AbstractChannel
) -> None:
    link = Link(broker, name="writer")
    stream = SessionStream(link, names)
    terms: list[str] = []
    losses: list[int] = []
    stream.follow(
        lambda record: terms.append(record.term) if isinstance(record, messages.Leading) else None,
        on_loss=lambda: losses.append(len(terms)),
    )
    await link.open(timeout_s=10)
    keeping = asyncio.create_task(link.keep())
    await write_and_lose(link, stream, names, proxy, observer)
    for number in range(20):
        other = messages.encode(messages.Leading(coordinator_id="b", term=f"of-another-{number}"))
        await observer.default_exchange.publish(aio_pika.Message(other), names.sessions)
    proxy.accept()
    await eventually(lambda: "of-another-19" in terms)
    assert losses == [5]
    keeping.cancel()
    await link.close()


async def test_a_stream_that_was_made_anew_while_we_were_away_is_followed_from_its_beginning(
    broker: Broker, names: Names, proxy: TcpProxy, observer: AbstractChannel
) -> None:
    link = Link(broker, name="writer")
    stream = SessionStream(link, names)
    terms: list[str] = []
    stream.follow(lambda record: terms.append(record.term) if isinstance(record, messages.Leading) else None)
    await link.open(timeout_s=10)
    keeping = asyncio.create_task(link.keep())
    await write_and_lose(link, stream, names, proxy, observer)
    other = messages.encode(messages.Leading(coordinator_id="b", term="of-another"))
    await observer.default_exchange.publish(aio_pika.Message(other), names.sessions)
    proxy.accept()
    await until(lambda: appended(stream, "new"))
    assert terms.index("of-another") < terms.index("new")
    await eventually(lambda: stream.is_live)  # its marker goes over another channel
    keeping.cancel()
    await asyncio.wait([keeping])
    await link.close()


async def write_and_lose(
    link: Link, stream: SessionStream, names: Names, proxy: TcpProxy, observer: AbstractChannel
) -> None:
    """Write five records; then, out of our reach, the stream is deleted and made anew."""
    for _ in range(5):
        await stream.append(messages.Leading(coordinator_id="a", term="old"))
    proxy.refuse()
    await eventually(lambda: not link.is_up.is_set())
    await observer.queue_delete(names.sessions)
    await observer.declare_queue(names.sessions, durable=True, arguments=STREAM_ARGUMENTS)


async def appended(stream: SessionStream, term: str) -> bool:
    try:
        await stream.append(messages.Leading(coordinator_id="a", term=term))
    except BrokerLostError:
        return False
    return True
