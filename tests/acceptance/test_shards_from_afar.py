"""A bot's shards from another process: presences that outlive workers, live states, and commands under load."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

import aio_pika
import hikari
import pytest

from benchmarks import gateway_commands
from consumers import Bot
from eventbus.names import Names
from gateway_sim.world import World
from ops.run_settings import SIMULATOR_TOKEN
from ops.supervisor import send_signal
from tests.acceptance.conftest import until
from tests.wire.shard_holder import stored_presences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.acceptance.conftest import Stage


@contextlib.asynccontextmanager
async def bot_of(stage: Stage, broker_url: str, namespace: str, **presence: Any) -> AsyncIterator[Bot]:
    """A bot in this process."""
    rest_url = stage.fleet.environment["GW_REST_URL"]
    bot = Bot(broker_url, SIMULATOR_TOKEN, namespace=namespace, group="here", rest_url=rest_url, command_timeout_s=60)
    await bot.start(**presence)
    try:
        yield bot
    finally:
        await bot.close()


async def statuses(stage: Stage, op: int) -> list[str | None]:
    """What the simulator was told by Identify (2) or Presence update (3), in order."""
    received = await stage.simulator.received()
    found = [one["d"] for one in received if one["op"] == op]
    presences = [d.get("presence") if op == 2 else d for d in found]
    return [presence["status"] if presence else None for presence in presences]


async def test_a_presence_is_in_the_identify_and_follows_its_shards_to_another_worker(
    stage: Stage, broker_url: str, namespace: str
) -> None:
    await stage.start("--shards", "2", "--max-concurrency", "2", consumer_count=0)
    async with bot_of(stage, broker_url, namespace, status=hikari.Status.DO_NOT_DISTURB) as bot:
        await is_stored(broker_url, namespace)
        victim = stage.fleet.add_worker("--shards", "0-1")
        await stage.connected(2)
        assert await statuses(stage, 2) == ["dnd", "dnd"]
        await until(lambda: all_say(bot, connected=True), "the shards say that they are connected")

        await bot.update_presence(status=hikari.Status.IDLE)
        assert await statuses(stage, 3) == ["idle", "idle"]
        await bot.shards[1].update_presence(status=hikari.Status.ONLINE)

        victim.stopping.set()  # not to be started again
        send_signal(victim, signal.SIGKILL)
        await until(lambda: all_say(bot, connected=False), "the shards say that they are not connected")
        stage.fleet.add_worker("--shards", "0-1")
        await bot.update_voice_state(guild_of_shard_0(), None)  # on its way while nobody holds the shard
        await until(lambda: all_say(bot, connected=True), "the shards say that they are connected again")
        await until(lambda: are_told(stage, ["idle", "idle", "online", "idle", "online"]), "presences after the resume")
    assert (await stage.simulator.verdict())["violations"] == []
    assert (await stage.simulator.verdict())["identifies"] == 2


async def test_promise_4_without_a_coordinator_dispatches_resumes_and_commands_go_on_and_a_worker_says_so_once(
    stage: Stage, broker_url: str, namespace: str
) -> None:
    await stage.start("--shards", "2", "--max-concurrency", "2", "--rate", "50")
    async with bot_of(stage, broker_url, namespace) as bot:
        stage.fleet.add_worker("--shards", "0-1")
        await stage.connected(2)
        await until(lambda: all_say(bot, connected=True), "the shards say that they are connected")
        (coordinator,) = stage.fleet.coordinators
        coordinator.stopping.set()  # not to be started again
        said_before = len(await misses_coordinator(stage))  # an answer may have been late
        send_signal(coordinator, signal.SIGKILL)

        async def misses_it() -> bool:
            return len(await misses_coordinator(stage)) > said_before

        await until(misses_it, "the worker says that no coordinator answers")
        await stage.simulator.fault(kind="drop", shard=0)
        await until(lambda: has_resumed(stage), "the shard resumed")
        await bot.update_voice_state(guild_of_shard_0(), None)
        await asyncio.sleep(6)  # some renewals, unanswered
        await stage.simulator.stop_traffic()
        result = await stage.handled()
    verdict = await stage.simulator.verdict()
    assert (result.lost, result.duplicated) == (0, 0), result.lost_by_type
    assert result.sent > 300
    assert (verdict["identifies"], verdict["resumes"], verdict["violations"]) == (2, 1, [])
    assert 4 in [one["op"] for one in await stage.simulator.received()]
    assert len(await misses_coordinator(stage)) == said_before + 1


async def misses_coordinator(stage: Stage) -> list[str]:
    return stage.said("no coordinator answers: shards go on as they are")


async def has_resumed(stage: Stage) -> bool:
    return bool((await stage.simulator.verdict())["resumes"])


async def is_stored(broker_url: str, namespace: str) -> None:
    """Wait until a presence stands in the stream."""
    async with await aio_pika.connect(broker_url) as connection:
        await stored_presences(await connection.channel(), Names(namespace), count=1)


async def all_say(bot: Bot, *, connected: bool) -> bool:
    return all(shard.is_connected is connected for shard in bot.shards.values())


async def are_told(stage: Stage, wanted: list[str | None]) -> bool:
    told = await statuses(stage, 3)
    return told[:3] == wanted[:3] and sorted(map(str, told[3:])) == sorted(map(str, wanted[3:]))


def guild_of_shard_0() -> int:
    world = World(guild_count=40, bot_token=SIMULATOR_TOKEN)
    return world.guilds_of_shard(0, 2)[0]


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_promise_8_every_command_of_four_processes_ends_while_two_workers_are_killed(broker_url: str) -> None:
    result = await gateway_commands.measure(broker_url, rate=60, seconds=10)
    assert result["offered"] > 100
    assert (result["unanswered"], result["untyped"]) == (0, 0), result
    assert (result["closes_4002_4008"], result["violations"]) == (0, {}), result
    assert result["outcomes"]["sent"] > 50
    assert result["outcomes"]["InvalidCommandError"] > 0
