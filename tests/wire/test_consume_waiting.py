"""What a process waits for comes to it, however many processes share its group: a real worker, three consumers."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.wait_for import PROCESS_COUNT, measure
from consumers.type_demand import LINGER_S
from gateway_sim.world import World
from ops.simulator_client import SimulatorClient
from tests.waiting import eventually
from tests.wire import consume_rig
from tests.wire.consume_rig import SHARD_COUNT, Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aio_pika.abc import AbstractChannel


ROUNDS = 20
CHUNK = 1000


@pytest.fixture
def fleet(broker_url: str) -> Iterator[consume_rig.Fleet]:
    with consume_rig.fleet(broker_url) as running:
        yield running


@pytest.fixture
async def group(rig: Rig) -> AsyncIterator[Rig]:
    async with grouped(rig):
        yield rig


@contextlib.asynccontextmanager
async def grouped(rig: Rig) -> AsyncIterator[None]:
    """Three processes that consume, then a worker that connects every shard."""
    for _ in range(PROCESS_COUNT):
        rig.start(GW_ENTRYPOINT="waiting_bots:setup")
    for process in rig.processes:
        await process.until_logged("consuming")
    with consume_rig.command_running("gw-worker", (), rig.fleet.environment):
        await rig.until_recorded("shard", event="ShardReadyEvent", count=PROCESS_COUNT * SHARD_COUNT)
        yield


@pytest.mark.long
async def test_promise_5b_each_wait_gets_its_own_event_and_leaves_no_binding(rig: Rig) -> None:
    environment = dict(os.environ) | rig.fleet.environment | {"GW_GROUP": rig.group}
    result = await measure(environment, ROUNDS)
    silent_count = ROUNDS // 10
    assert result.resolved == (ROUNDS - silent_count) * PROCESS_COUNT
    assert result.timed_out == silent_count * PROCESS_COUNT
    assert (result.wrong, result.bindings_left) == (0, 0)


async def test_listeners_still_get_each_event_once_while_others_wait_for_it(rig: Rig) -> None:
    environment = dict(os.environ) | rig.fleet.environment | {"GW_GROUP": rig.group}
    result = await measure(environment, 5, listen=True)
    assert (result.resolved, result.wrong) == (5 * PROCESS_COUNT, 0)
    assert result.heard == {f"{number}:{index}": 1 for number in range(5) for index in range(PROCESS_COUNT)}


async def test_what_becomes_of_shards_reaches_each_process_once(group: Rig) -> None:
    def count(event: str) -> dict[tuple[int, int], int]:
        seen = [(entry["pid"], entry["id"]) for entry in group.recorded("shard", event=event)]
        return {one: seen.count(one) for one in seen}

    everyone = {(process.pid, shard): 1 for process in group.processes for shard in range(SHARD_COUNT)}
    await eventually(lambda: count("ShardConnectedEvent") == everyone)
    assert count("ShardReadyEvent") == everyone
    assert count("ShardDisconnectedEvent") == {}

    async with SimulatorClient(group.fleet.control_url) as simulator:
        await simulator.fault(kind="drop", shard=0)
    of_shard_0 = {(process.pid, 0): 1 for process in group.processes}
    await eventually(lambda: count("ShardResumedEvent") == of_shard_0)
    await eventually(lambda: count("ShardConnectedEvent") == {one: 1 + (one in of_shard_0) for one in everyone})
    assert count("ShardDisconnectedEvent") == of_shard_0
    assert count("ShardReadyEvent") == everyone

    late = await group.started(GW_ENTRYPOINT="waiting_bots:setup")
    await late.until_logged("late_listener")
    assert late.logged("late_listener")[0]["events"] == [
        "ShardConnectedEvent", "ShardReadyEvent", "GuildAvailableEvent",
    ]  # fmt: skip
    assert not any(process.logged("late_listener") for process in group.processes if process is not late)


@pytest.mark.long
async def test_nothing_stays_bound_after_a_request_for_members(group: Rig) -> None:
    guild = (await group.until_recorded("guild"))[0]
    chunk = {"guild_id": guild["id"], "members": [], "chunk_index": 0, "chunk_count": 1, "not_found": []}
    assert not await group.is_wanted("GUILD_MEMBERS_CHUNK", chunk)
    await group.say(f"users {guild['id']} {guild['owner']}")
    await group.until_recorded("users")
    assert await group.is_wanted("GUILD_MEMBERS_CHUNK", chunk)
    await asyncio.sleep(LINGER_S)

    async def is_unbound() -> bool:
        return not await group.is_wanted("GUILD_MEMBERS_CHUNK", chunk)

    await eventually(is_unbound)


async def test_a_voice_connection_gets_both_events_and_what_follows(group: Rig) -> None:
    guild = (await group.until_recorded("guild"))[0]
    first, *others = guild["voice"]
    await group.say(f"connect {guild['id']} {first} {others[0] if others else first}")
    voice = (await group.until_recorded("voice"))[0]
    assert voice["guild"] == guild["id"]
    assert voice["endpoint"] == "wss://voice.sim.invalid:443"
    notified = await group.until_recorded("notified", count=2)
    assert {entry["event"] for entry in notified} == {"VoiceStateUpdateEvent", "VoiceServerUpdateEvent"}
    assert {entry["pid"] for entry in notified} == {voice["pid"]}
    listened = await group.until_recorded("listened", count=2)
    assert len(listened) == 2  # the group's listeners get each once, in whatever process
    assert group.recorded("failed") == []


async def test_members_are_collected_by_the_process_that_asked(group: Rig) -> None:
    guild = (await group.until_recorded("guild"))[0]
    await group.say(f"users {guild['id']} 1 {guild['owner']}")
    answer = (await group.until_recorded("users"))[0]
    assert (answer["members"], answer["not_found"]) == ([guild["owner"]], ["1"])
    await group.say(f"members {guild['id']} 5")
    assert (await group.until_recorded("failed", word="members"))[0]["error"] == "MissingIntentError"
    await group.say("unknown 1")  # Discord does not answer for a guild that the bot is not in
    failed = (await group.until_recorded("failed", word="unknown"))[0]
    assert failed["error"] == "MembersTimeoutError"
    assert "0 chunks" in failed["message"]


async def test_all_members_of_a_large_guild_come_in_chunks_and_who_asks_again_too_soon_hears_when(
    broker_url: str, observer: AbstractChannel, tmp_path: Path
) -> None:
    world = World(bot_token=consume_rig.BOT_TOKEN, guild_count=4)
    large = next(one for one in world.guild_ids if world.is_large(one))
    with consume_rig.fleet(broker_url, intents="ALL") as fleet:
        async with consume_rig.rig(fleet, observer, tmp_path) as rig, grouped(rig):
            await rig.say(f"members {large} 60")
            answer = (await rig.until_recorded("members"))[0]
            assert (answer["guild"], answer["count"], answer["not_found"]) == (
                str(large),
                len(world.members_of(large)),
                0,
            )
            assert answer["count"] > 2 * CHUNK
            await rig.say(f"members {large} 60")
            failed = (await rig.until_recorded("failed", word="members"))[0]
            assert failed["error"] == "CommandRateLimitedError"
