"""Guilds that arrived before anybody chose a cache: one process fetches them over REST, and all of them have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from consumers.cache_generations import Generations
from consumers.cache_parts import CacheParts
from eventbus.amqp.broker import Broker
from eventbus.amqp.cache_streams import CacheStreams
from eventbus.amqp.link import Link
from gateway_sim.world import World
from tests.wire import consume_rig
from tests.wire.consume_rig import Rig
from tests.wire.rest_gate import RestGate, rest_gate
from tests.wire.test_consume_cache import show, until_all_show, until_shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aio_pika.abc import AbstractChannel

    from tests.wire.consume_rig import ConsumeProcess

PARTS = "guilds,channels,roles,members"
GUILD_COUNT = 8
WORLD = World(bot_token=consume_rig.BOT_TOKEN, guild_count=GUILD_COUNT)
IDS = WORLD.guild_ids


@pytest.fixture
async def rig(broker_url: str, observer: AbstractChannel, tmp_path: Path) -> AsyncIterator[Rig]:
    """Each test has a fleet of its own: the streams of its namespace are new."""
    with consume_rig.fleet(broker_url, guild_count=GUILD_COUNT) as running:
        async with consume_rig.rig(running, observer, tmp_path) as tested:
            yield tested


@pytest.fixture
async def gate(rig: Rig) -> AsyncIterator[RestGate]:
    async with rest_gate(rig.fleet.rest_url) as running:
        yield running


async def cached(rig: Rig, gate: RestGate, parts: str = PARTS) -> ConsumeProcess:
    """A process with a cache that consumes."""
    root = str(consume_rig.BOTS.parents[1])
    return await rig.started("--cache", parts, GW_ENTRYPOINT="cache_bots:setup", PYTHONPATH=root, GW_REST_URL=gate.url)


def named(found: list[dict[str, Any]]) -> list[str]:
    return sorted(one["name"] for one in found)


def expected(guild_id: int) -> dict[str, Any]:
    """What the cache must hold of a guild; members as many as the guild has."""
    guild = WORLD.guild(guild_id)
    names = {"name": guild["name"], "channels": named(guild["channels"]), "roles": named(guild["roles"])}
    return {**names, "available": True, "members": guild["member_count"]}


async def until_complete(rig: Rig, guild_ids: tuple[int, ...] = IDS) -> None:
    for guild_id in guild_ids:
        await until_shown(rig, str(guild_id), **expected(guild_id))  # a large guild's members come in parts


async def test_the_first_process_with_a_cache_gets_the_guilds_that_came_before_it(rig: Rig, gate: RestGate) -> None:
    first = await cached(rig, gate)
    await until_complete(rig)
    assert expected(IDS[0])["members"] == 2500
    await first.until_logged("cache_filled")
    assert [entry["filled"] for entry in first.logged("cache_filled")] == [GUILD_COUNT]
    asked = [path for path in gate.asked if path.startswith("/guilds/")]
    assert await first.stop() == 0
    second = await cached(rig, gate)
    started = [entry["guilds"] for entry in rig.recorded("started") if entry["pid"] == second.pid]
    assert started == [sorted(IDS)]
    await until_complete(rig)
    assert [path for path in gate.asked if path.startswith("/guilds/")] == asked


async def test_two_processes_ask_for_each_guild_once_and_both_have_it(rig: Rig, gate: RestGate) -> None:
    gate.hold("/users/@me/guilds")
    for _ in range(2):
        await cached(rig, gate)
    await gate.until_asked("/users/@me/guilds")
    gate.let_go("/users/@me/guilds")
    for guild_id in IDS:
        await until_all_show(rig, str(guild_id), name=WORLD.guild(guild_id)["name"], process_count=2)
    assert [gate.count(f"/guilds/{guild_id}") for guild_id in IDS] == [1] * GUILD_COUNT


@pytest.mark.long
async def test_when_the_process_that_fetches_is_killed_another_one_fetches_the_rest(rig: Rig, gate: RestGate) -> None:
    late = IDS[-2:]
    for guild_id in late:
        gate.hold(f"/guilds/{guild_id}/threads/active")
    victim = await cached(rig, gate)
    for guild_id in late:
        await gate.until_asked(f"/guilds/{guild_id}/threads/active")
    await until_complete(rig, IDS[:-2])  # and dispatches are handled meanwhile
    await cached(rig, gate)
    victim.process.kill()
    victim.process.wait()
    for guild_id in late:
        gate.let_go(f"/guilds/{guild_id}/threads/active")
    await until_complete(rig)
    asked = [gate.count(f"/guilds/{guild_id}") for guild_id in IDS]
    assert asked == [1] * (GUILD_COUNT - 2) + [2, 2]


async def test_a_dispatch_that_comes_while_a_guild_is_fetched_wins(rig: Rig, gate: RestGate) -> None:
    changed, replaced, left = IDS[3:6]
    for guild_id in (changed, replaced, left):
        gate.hold(f"/guilds/{guild_id}/threads/active")
    first = await cached(rig, gate)
    for guild_id in (changed, replaced, left):
        await gate.until_asked(f"/guilds/{guild_id}/threads/active")  # its channels were answered already
    old = WORLD.guild(changed)["channels"]
    of_guild = {"guild_id": str(changed)}
    await rig.publish("CHANNEL_UPDATE", {**old[1], **of_guild, "name": "by-dispatch"})
    await rig.publish("CHANNEL_DELETE", {**old[2], **of_guild})
    await rig.publish("CHANNEL_CREATE", {**old[1], **of_guild, "id": "77", "name": "created"})
    await rig.publish("GUILD_CREATE", {**WORLD.guild(replaced), "name": "by dispatch"})
    await rig.publish("GUILD_DELETE", {"id": str(left)})
    await until_shown(rig, str(replaced), name="by dispatch")
    for guild_id in (changed, replaced, left):
        gate.let_go(f"/guilds/{guild_id}/threads/active")
    channels = sorted(["by-dispatch", "created", old[0]["name"], *(one["name"] for one in old[3:])])
    await until_shown(rig, str(changed), name=WORLD.guild(changed)["name"], channels=channels)
    await first.until_logged("cache_filled")
    assert (await show(rig, str(left)))["name"] is None
    assert (await until_shown(rig, str(replaced)))["name"] == "by dispatch"
    assert await first.stop() == 0
    await written(rig)
    second = await cached(rig, gate)
    assert second.logged("cache_loaded")[0]["from_generation"] == GUILD_COUNT - 1
    await until_shown(rig, str(changed), channels=channels)
    await until_shown(rig, str(replaced), name="by dispatch")
    assert (await until_shown(rig, str(left)))["name"] is None


async def test_a_guild_that_was_left_while_nobody_looked_is_taken_away(rig: Rig, gate: RestGate) -> None:
    gate.hold("/users/@me/guilds")
    first = await cached(rig, gate)
    await gate.until_asked("/users/@me/guilds")
    others = World(bot_token="t", guild_count=GUILD_COUNT + 2)
    left, away = (others.guild(guild_id) for guild_id in others.guild_ids[-2:])
    for one in (left, away):
        await rig.publish("GUILD_CREATE", one)
    await rig.publish("GUILD_DELETE", {"id": away["id"], "unavailable": True})
    await until_shown(rig, away["id"], available=False)
    first.process.kill()
    first.process.wait()
    gate.let_go("/users/@me/guilds")
    second = await cached(rig, gate)
    await second.until_logged("cache_filled")
    assert second.logged("cache_filled")[0]["removed"] == 1
    await until_shown(rig, left["id"], name=None)
    assert (await until_shown(rig, away["id"]))["name"] == away["name"]


async def written(rig: Rig) -> None:
    """Write a generation of all that the streams hold."""
    links = [Link(Broker(rig.fleet.broker_url), name=name) for name in ("reading", "writing")]
    parts = CacheParts.parse(PARTS)
    streams = CacheStreams(*links, rig.names, heavy=parts.heavy, types=parts.streamed_types)
    for link in links:
        await link.open(timeout_s=10)
    assert await Generations(streams, heavy=parts.heavy, slice_bytes=20_000).write_next(8) is not None
    for link in links:
        await link.close()
