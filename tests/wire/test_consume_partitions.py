"""A partitioned group: one process for each partition, and nothing lost when the layout of the group changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.waiting import eventually
from tests.wire import consume_rig
from tests.wire.consume_rig import Rig, plain_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aio_pika.abc import AbstractChannel

    from tests.wire.consume_rig import ConsumeProcess


BOT = {"GW_ENTRYPOINT": "order_bots:setup"}
GUILD = {**BOT, "GW_ORDERING": "guild", "GW_PARTITIONS": "4"}
NONE = {**BOT, "GW_ORDERING": "none"}
SHARDS = 8


@pytest.fixture
async def rig(fleet: consume_rig.Fleet, observer: AbstractChannel, tmp_path: Path) -> AsyncIterator[Rig]:
    async with consume_rig.rig(fleet, observer, tmp_path) as tested:
        yield tested
    for number in range(8):
        await observer.queue_delete(tested.names.partition(tested.group, number))
    for count in (2, 4):
        await observer.exchange_delete(tested.names.partitions(tested.group, count))
    await observer.exchange_delete(tested.names.unplaced(tested.group))


async def send(rig: Rig, count: int, *, shards: int = SHARDS) -> None:
    """Dispatches of as many guilds as shards, one after another."""
    for number in range(count):
        shard = number % shards
        headers = plain_headers(shard, shard_count=shards)
        d = {"id": "1", "channel_id": "2", "guild_id": str(shard + 1)}
        await rig.publish("MESSAGE_DELETE", d, shard=shard, headers=headers)


def inversions(rig: Rig) -> int:
    """First starts of handlers after that of a later dispatch of the same guild."""
    highest: dict[int, int] = {}
    seen: set[int] = set()
    found = 0
    for entry in sorted(rig.recorded("started"), key=lambda one: float(one["at"])):
        if entry["seq"] not in seen:
            seen.add(entry["seq"])
            found += entry["seq"] < highest.get(entry["guild"], 0)
            highest[entry["guild"]] = max(entry["seq"], highest.get(entry["guild"], 0))
    return found


def started(rig: Rig) -> set[int]:
    return {entry["seq"] for entry in rig.recorded("started")}


async def until_all_started(rig: Rig, count: int) -> None:
    await eventually(lambda: started(rig) == set(range(1, count + 1)))


def taken(process: ConsumeProcess) -> list[int]:
    """The partitions that a process has."""
    has: set[int] = set()
    for entry in process.log:
        if entry.get("action") == "partition_taken":
            has.add(entry["partition"])
        elif entry.get("action") == "partition_freed":
            has.discard(entry["partition"])
    return sorted(has)


async def test_promise_5c_partitions_move_evenly_and_a_guild_keeps_its_order_when_processes_come_go_and_die(
    rig: Rig,
) -> None:
    first = await rig.started(**GUILD)
    await eventually(lambda: taken(first) == [0, 1, 2, 3])
    await send(rig, 200)
    second = await rig.started(**GUILD)
    await send(rig, 200)
    await eventually(lambda: len(taken(second)) == 2 and sorted(taken(first) + taken(second)) == [0, 1, 2, 3])
    await send(rig, 100)
    first.process.kill()
    await send(rig, 100)
    await eventually(lambda: taken(second) == [0, 1, 2, 3])
    third = await rig.started(**GUILD)
    await send(rig, 100)
    assert await second.stop() == 0
    await send(rig, 100)
    await until_all_started(rig, 800)
    assert inversions(rig) == 0
    assert await third.stop() == 0
    assert taken(third) == []


async def test_a_process_with_another_layout_says_so_and_ends(rig: Rig) -> None:
    await rig.started(**GUILD)
    for other in (NONE, {**GUILD, "GW_PARTITIONS": "2"}, {**GUILD, "GW_ORDERING": "shard"}):
        process = rig.start(**other)
        assert await process.wait() == 2
        said = " ".join(process.sentences)
        assert f"group '{rig.group}' runs with --ordering guild --partitions 4" in said


async def test_nothing_is_lost_when_a_group_is_partitioned_and_when_it_is_no_longer(rig: Rig) -> None:
    plain = await rig.started(**NONE)
    await send(rig, 20)
    await until_all_started(rig, 20)
    assert await plain.stop() == 0
    await send(rig, 20)
    assert await rig.ready_count(rig.queue) == 20

    partitioned = await rig.started(**GUILD)
    await until_all_started(rig, 40)
    await send(rig, 20)
    await until_all_started(rig, 60)
    assert len(rig.recorded("started")) == 60  # the shared queue gets no copies any more
    assert await partitioned.stop() == 0
    await send(rig, 20)
    assert await rig.ready_count(rig.queue) == 0

    fewer = await rig.started(**{**GUILD, "GW_PARTITIONS": "2"})
    await until_all_started(rig, 80)
    await send(rig, 20)
    await until_all_started(rig, 100)
    assert await fewer.stop() == 0
    await send(rig, 20)

    plain = await rig.started(**NONE)
    await until_all_started(rig, 120)
    await send(rig, 20)
    await until_all_started(rig, 140)
    assert await plain.stop() == 0
    assert len(rig.recorded("started")) == 140
    for number in range(4):
        assert await rig.ready_count(rig.names.partition(rig.group, number)) == 0


async def test_a_shard_that_no_partition_knows_is_handled_and_has_a_partition_from_then_on(rig: Rig) -> None:
    process = await rig.started(**GUILD)
    headers = plain_headers(101, shard_count=102)
    d = {"id": "1", "channel_id": "2", "guild_id": "5"}
    await rig.publish("MESSAGE_DELETE", d, shard=101, headers=headers)
    await until_all_started(rig, 1)
    await process.until_logged("shards_placed", count=2)
    assert await process.stop() == 0
    await rig.publish("MESSAGE_DELETE", d, shard=101, headers=headers)
    assert await rig.ready_count(rig.queue) == 0
    assert await rig.ready_count(rig.names.partition(rig.group, 101 % 4)) == 1


async def test_with_ordering_shard_what_belongs_to_no_guild_starts_in_order_too(rig: Rig) -> None:
    processes = [await rig.started(**{**GUILD, "GW_ORDERING": "shard"}) for _ in range(2)]
    for number in range(100):
        shard = number % SHARDS
        d = {"id": "1", "channel_id": "2", "guild_id": str(shard + 1)}
        await rig.publish("MESSAGE_DELETE", d, shard=shard, headers=plain_headers(shard, shard_count=SHARDS))
    await until_all_started(rig, 100)
    assert inversions(rig) == 0
    for process in processes:
        assert await process.stop() == 0


async def test_what_failed_comes_again_to_its_partition(rig: Rig) -> None:
    bot = {"GW_ENTRYPOINT": "consume_bots:setup", "GW_ORDERING": "guild", "GW_PARTITIONS": "4"}
    process = await rig.started(**bot, GW_ON_ERROR="retry")
    await rig.say("flaky", shard=1)
    again = await rig.until_recorded("message", count=3)
    assert [entry["attempt"] for entry in again] == [1, 2, 3]
    assert await process.stop() == 0
