"""The cache of a process that starts long after the guilds came, and after a takeover, which brings no guilds again."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import math
import signal
from typing import TYPE_CHECKING, Any

from consumers import Bot
from consumers.cache_members import LOOK_S
from gateway_sim.world import World
from ops.run_settings import SIMULATOR_TOKEN
from ops.supervisor import send_signal
from tests.acceptance.conftest import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.acceptance.conftest import Stage

GUILDS = 1 << 0  # the intent of what these tests dispatch
WORLD = World(guild_count=40, bot_token=SIMULATOR_TOKEN)
FIRST, SECOND = WORLD.guild_ids[:2]

Held = dict[int, tuple[list[str], list[str]]]


@contextlib.asynccontextmanager
async def cached(
    stage: Stage, broker_url: str, namespace: str, *, cache: str = "guilds,channels,roles", **changes: Any
) -> AsyncIterator[Bot]:
    """A bot in this process, with a cache."""
    rest_url = stage.fleet.environment["GW_REST_URL"]
    options: dict[str, Any] = {"namespace": namespace, "group": "here", "rest_url": rest_url, "cache": cache}
    bot = Bot(broker_url, SIMULATOR_TOKEN, **options | changes)
    await bot.start()
    try:
        yield bot
    finally:
        await bot.close()


def held(bot: Bot) -> Held:
    """Channels and roles of each guild in the cache, by name."""
    cache = bot.cache
    return {
        int(guild): (
            sorted(str(one.name) for one in cache.get_guild_channels_view_for_guild(guild).values()),
            sorted(one.name for one in cache.get_roles_view_for_guild(guild).values()),
        )
        for guild in cache.get_guilds_view()
    }


def expected() -> Held:
    """What the guilds have that the simulator sent at the beginning."""
    found = ((guild_id, WORLD.guild(guild_id)) for guild_id in WORLD.guild_ids)
    return {
        guild_id: (sorted(one["name"] for one in guild["channels"]), sorted(one["name"] for one in guild["roles"]))
        for guild_id, guild in found
    }


async def add_role(stage: Stage, guild_id: int, name: str) -> None:
    role = {**WORLD.guild(guild_id)["roles"][1], "id": WORLD.next_id(), "name": name}
    data = {"guild_id": str(guild_id), "role": role}
    await stage.simulator.dispatch(type="GUILD_ROLE_CREATE", data=data, guild_id=str(guild_id), intents=GUILDS)


def with_roles(held_before: Held, guild_id: int, *names: str) -> Held:
    channels, roles = held_before[guild_id]
    return {**held_before, guild_id: (channels, sorted([*roles, *names]))}


async def test_promise_5a_a_process_that_starts_late_and_after_a_takeover_has_a_complete_and_fresh_cache(
    stage: Stage, broker_url: str, namespace: str
) -> None:
    await stage.start("--shards", "2", "--max-concurrency", "2", consumer_count=0)
    victim = stage.fleet.add_worker("--shards", "0-1")
    await stage.connected(2)

    async def sent(count: int) -> bool:
        return (await stage.simulator.verdict())["by_type"].get("GUILD_CREATE", 0) == count

    await until(lambda: sent(40), "the guilds are sent, and nobody looks")
    whole = expected()

    async def is_held(bot: Bot, wanted: Held) -> bool:
        return held(bot) == wanted

    async with cached(stage, broker_url, namespace) as bot:
        await until(lambda: is_held(bot, whole), "the first process has all guilds", timeout_s=90)

    victim.stopping.set()  # not to be started again
    send_signal(victim, signal.SIGKILL)
    await add_role(stage, FIRST, "while nobody held the shard")
    stage.fleet.add_worker("--shards", "0-1")

    async def resumed() -> bool:
        return bool((await stage.simulator.verdict())["resumes"] == 2)

    await until(resumed, "another worker resumes both shards", timeout_s=90)
    await add_role(stage, SECOND, "after the takeover")
    fresh = with_roles(whole, FIRST, "while nobody held the shard")
    fresh = with_roles(fresh, SECOND, "after the takeover")
    asked = (await stage.simulator.rest_journal())["requests"]
    async with cached(stage, broker_url, namespace) as bot:
        assert held(bot).keys() == whole.keys()  # at once, when it starts
        await until(lambda: is_held(bot, fresh), "a process that starts later has all, and what came last")
    verdict = await stage.simulator.verdict()
    assert (verdict["identifies"], verdict["by_type"]["GUILD_CREATE"], verdict["violations"]) == (2, 40, [])
    later = (await stage.simulator.rest_journal())["requests"][len(asked) :]
    assert [one["path"] for one in later if "/guilds/" in one["path"]] == []


async def test_a_cache_that_saw_the_guilds_come_stays_fresh_over_a_takeover(
    stage: Stage, broker_url: str, namespace: str
) -> None:
    await stage.start("--shards", "2", "--max-concurrency", "2", consumer_count=0)
    async with cached(stage, broker_url, namespace) as bot:
        victim = stage.fleet.add_worker("--shards", "0-1")
        await stage.connected(2)

        async def is_held(wanted: Held) -> bool:
            return held(bot) == wanted

        await until(lambda: is_held(expected()), "all guilds are there", timeout_s=90)
        await add_role(stage, FIRST, "before")
        victim.stopping.set()
        send_signal(victim, signal.SIGKILL)
        await add_role(stage, FIRST, "between")
        stage.fleet.add_worker("--shards", "0-1")
        fresh = with_roles(expected(), FIRST, "before", "between")
        await until(lambda: is_held(fresh), "what came in between is there", timeout_s=90)


async def start_with_members(stage: Stage) -> None:
    """Six guilds, two of them large, and the intent for their members, but not for their presences."""
    stage.fleet.environment["GW_INTENTS"] = "GUILDS|GUILD_MEMBERS"
    await stage.start("--shards", "2", "--max-concurrency", "2", "--guilds", "6", consumer_count=0)


async def test_members_that_discord_does_not_send_by_itself_are_asked_for_once(
    stage: Stage, broker_url: str, namespace: str
) -> None:
    await start_with_members(stage)
    counts = {guild_id: len(WORLD.member_ids(guild_id)) for guild_id in WORLD.guild_ids[:6]}
    chunk_count = sum(math.ceil(count / 1000) for count in counts.values())

    async def has_all(bot: Bot) -> bool:
        cache = bot.cache
        found = {int(one): len(cache.get_members_view_for_guild(one)) for one in cache.get_guilds_view()}
        return found == counts

    async def chunks_sent() -> int:
        return int((await stage.simulator.verdict())["by_type"].get("GUILD_MEMBERS_CHUNK", 0))

    async def are_all_sent() -> bool:
        return await chunks_sent() >= chunk_count

    members = functools.partial(cached, stage, broker_url, namespace, cache="guilds,members")
    async with members() as bot, members(group="there") as other:
        stage.fleet.add_worker("--shards", "0-1")
        # REST may have shown the guilds before: what Discord sends with its Identify counts, and lacks members.
        await until(are_all_sent, "all members are asked for", timeout_s=90)
        for one in (bot, other):
            await until(functools.partial(has_all, one), "all members came")
    async with members() as bot:
        await until(functools.partial(has_all, bot), "a process that starts later has them")
        await asyncio.sleep(2 * LOOK_S)
    assert await chunks_sent() == chunk_count
    assert (await stage.simulator.verdict())["violations"] == []


async def test_members_are_not_asked_for_where_the_bot_does_not_want_it(
    stage: Stage, broker_url: str, namespace: str
) -> None:
    await start_with_members(stage)
    async with cached(stage, broker_url, namespace, cache="guilds,members", auto_chunk_members=False) as bot:
        stage.fleet.add_worker("--shards", "0-1")

        async def has_guilds() -> bool:
            return len(bot.cache.get_guilds_view()) == 6

        await until(has_guilds, "all guilds came", timeout_s=90)
        await asyncio.sleep(2 * LOOK_S)
    assert "GUILD_MEMBERS_CHUNK" not in (await stage.simulator.verdict())["by_type"]
