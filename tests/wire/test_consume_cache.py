"""The cache of a gw-consume: whole at the start, fresh afterwards, and `old_*` right although the work is shared."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from consumers.cache_generations import Generations
from consumers.cache_parts import CacheParts
from eventbus.amqp.broker import Broker
from eventbus.amqp.cache_streams import CacheStreams
from eventbus.amqp.link import Link
from eventbus.errors import QueueBusyError
from gateway_sim.world import World
from tests.wire import consume_rig
from tests.wire.consume_rig import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.wire.consume_rig import ConsumeProcess

LIGHT = "guilds,channels,roles,voice-states"
OWN_ID = 8
_world = World(bot_token="t", guild_count=100, large_guilds=0)
_guild_ids = iter(_world.guild_ids)


@pytest.fixture(scope="module")
def fleet(broker_url: str) -> Iterator[consume_rig.Fleet]:
    # REST names no guild: what these tests publish is all that there is.
    with consume_rig.fleet(broker_url, guild_count=0) as running:
        yield running


@contextlib.asynccontextmanager
async def opened(rig: Rig) -> AsyncIterator[Generations]:
    """Of the streams that LIGHT uses, over connections of their own."""
    links = [Link(Broker(rig.fleet.broker_url), name=name) for name in ("reading", "writing")]
    parts = CacheParts.parse(LIGHT)
    streams = CacheStreams(*links, rig.names, heavy=parts.heavy, types=parts.streamed_types)
    for link in links:
        await link.open(timeout_s=10)
    yield Generations(streams, heavy=parts.heavy, slice_bytes=50_000)
    for link in links:
        await link.close()


@pytest.fixture
async def generations(rig: Rig) -> AsyncIterator[Generations]:
    async with opened(rig) as found:
        yield found


async def cached(rig: Rig, parts: str = LIGHT) -> ConsumeProcess:
    """A process with a cache that consumes."""
    return await rig.started(
        "--cache", parts, GW_ENTRYPOINT="cache_bots:setup", PYTHONPATH=str(consume_rig.BOTS.parents[1])
    )


def guild(*, shard: int = 0, **fields: Any) -> dict[str, Any]:
    """A GUILD_CREATE of a shard, of its own id."""
    guild_id = next(one for one in _guild_ids if (one >> 22) % consume_rig.SHARD_COUNT == shard)
    return {**_world.guild(guild_id), **fields}


async def show(rig: Rig, guild_id: str, *, count: int = 1) -> dict[str, Any]:
    """What the cache holds of a guild, as the newest answer says."""
    await rig.say(f"show {guild_id}")
    return (await rig.until_recorded("shown", guild=guild_id, count=count))[-1]


async def until_shown(rig: Rig, guild_id: str, **expected: Any) -> dict[str, Any]:
    """Ask until the cache holds what is expected."""
    for count in itertools.count(1 + len(rig.recorded("shown", guild=guild_id))):
        found = await show(rig, guild_id, count=count)
        if all(found[name] == value for name, value in expected.items()):
            return found
    raise AssertionError


async def until_all_show(rig: Rig, guild_id: str, *, name: str, process_count: int) -> None:
    """Ask until so many processes hold the guild."""
    for count in itertools.count(1):
        await show(rig, guild_id, count=count)
        told = rig.recorded("shown", guild=guild_id)
        if len({entry["pid"] for entry in told if entry["name"] == name}) == process_count:
            return


async def test_a_process_that_starts_later_has_the_guilds_and_what_happened_while_none_ran(rig: Rig) -> None:
    first = await cached(rig)
    early, left = guild(name="early"), guild(name="left")
    for one in (early, left):
        await rig.publish("GUILD_CREATE", one)
    found = await until_shown(rig, early["id"], name="early")
    assert (found["available"], found["members"]) == (True, 0)
    assert found["channels"] == sorted(channel["name"] for channel in early["channels"])
    assert found["roles"] == sorted(role["name"] for role in early["roles"])
    assert found["in_voice"] == len(early["voice_states"]) > 0
    assert await first.stop() == 0
    await rig.publish("GUILD_DELETE", {"id": left["id"]})
    role = {**early["roles"][0], "name": "renamed"}
    await rig.publish("GUILD_ROLE_UPDATE", {"guild_id": early["id"], "role": role})
    second = await cached(rig)
    after = await show(rig, early["id"], count=1 + len(rig.recorded("shown", guild=early["id"])))
    assert (after["channels"], after["in_voice"]) == (found["channels"], found["in_voice"])
    assert "renamed" in after["roles"]
    assert (await show(rig, left["id"]))["name"] is None
    started = [entry["guilds"] for entry in rig.recorded("started") if entry["pid"] == second.pid]
    assert int(early["id"]) in started[0]
    assert int(left["id"]) not in started[0]


async def test_old_values_are_those_before_the_dispatch_in_every_process_of_a_group(rig: Rig) -> None:
    for _ in range(2):
        await cached(rig)
    one = guild()
    await rig.publish("GUILD_CREATE", one)
    await until_all_show(rig, one["id"], name=one["name"], process_count=2)
    further = Rig(rig.fleet, rig.observer, rig.directory, _seq=1000)
    await further.publish("GUILD_CREATE", guild())  # how far another session has come says nothing of this one
    channel = {**one["channels"][1], "guild_id": one["id"]}
    for number in range(61):
        await rig.publish("CHANNEL_UPDATE", {**channel, "name": f"n{number}"})
    events = await rig.until_recorded("channel", count=61)
    assert len({entry["pid"] for entry in events}) == 2
    before = {"n0": channel["name"]} | {f"n{number}": f"n{number - 1}" for number in range(1, 61)}
    assert {entry["new"]: entry["old"] for entry in events} == before
    assert all(int(entry["cached"][1:]) >= int(entry["new"][1:]) for entry in events)
    fields = {key: value for key, value in one.items() if key not in {"channels", "threads", "members", "voice_states"}}
    await rig.publish("GUILD_UPDATE", {**fields, "name": "new name"})
    assert [(entry["old"], entry["new"]) for entry in await rig.until_recorded("guild")] == [(one["name"], "new name")]


async def test_a_replay_changes_nothing(rig: Rig) -> None:
    await cached(rig)
    one = guild()
    await rig.publish("GUILD_CREATE", one)
    names = {"a": "replay:1", "b": "replay:2"}
    for _ in range(2):
        for name, message_id in names.items():
            channel = {**one["channels"][1], "guild_id": one["id"], "name": name}
            await rig.publish("CHANNEL_UPDATE", channel, message_id=message_id)
    await rig.say("show 1")
    await rig.until_recorded("shown", guild="1")
    events = await rig.until_recorded("channel", count=2)
    assert [(entry["old"], entry["new"]) for entry in events] == [(one["channels"][1]["name"], "a"), ("a", "b")]
    found = await show(rig, one["id"])
    assert "b" in found["channels"]


async def test_a_new_session_brings_its_guilds_and_no_others(rig: Rig) -> None:
    first = await cached(rig)
    gone, stays, other = guild(name="gone"), guild(name="stays"), guild(shard=1, name="other")
    for one in (gone, stays, other):
        await rig.publish("GUILD_CREATE", one)
    await until_shown(rig, other["id"], name="other")
    ready = {"guilds": [{"id": stays["id"], "unavailable": True}], "user": {}, "session_id": "s", "v": 10}
    await rig.publish("READY", ready)
    fewer = {**stays, "channels": stays["channels"][:1], "voice_states": []}
    await rig.publish("GUILD_CREATE", fewer)
    await until_shown(rig, gone["id"], name=None, channels=[])
    found = await until_shown(rig, stays["id"], channels=[stays["channels"][0]["name"]], in_voice=0)
    assert found["name"] == "stays"
    assert (await show(rig, other["id"], count=2))["name"] == "other"
    assert await first.stop() == 0
    await cached(rig)
    assert (await show(rig, gone["id"], count=len(rig.recorded("shown", guild=gone["id"])) + 1))["name"] is None


async def test_a_process_starts_from_a_generation_as_from_the_dispatches(rig: Rig, generations: Generations) -> None:
    first = await cached(rig)
    kept, changed, gone, away = (guild(name=name) for name in ("kept", "changed", "gone", "away"))
    for one in (kept, changed, gone, away):
        await rig.publish("GUILD_CREATE", one)
    assert await generations.write_next(OWN_ID) is not None
    channel = {**changed["channels"][1], "guild_id": changed["id"], "name": "new-name"}
    await rig.publish("CHANNEL_UPDATE", channel)
    await rig.publish("GUILD_DELETE", {"id": gone["id"]})
    await rig.publish("GUILD_DELETE", {"id": away["id"], "unavailable": True})
    written = await generations.write_next(OWN_ID)
    assert written is not None
    await rig.publish(
        "GUILD_ROLE_CREATE", {"guild_id": kept["id"], "role": {**kept["roles"][0], "id": "77", "name": "late"}}
    )
    assert await first.stop() == 0
    second = await cached(rig)
    assert second.logged("cache_loaded")[0]["from_generation"] == written.guild_count
    found = {one["name"]: await show(rig, one["id"]) for one in (kept, changed, gone, away)}
    assert "late" in found["kept"]["roles"]
    assert found["kept"]["channels"] == sorted(one["name"] for one in kept["channels"])
    assert found["kept"]["in_voice"] == len(kept["voice_states"]) > 0
    assert "new-name" in found["changed"]["channels"]
    assert found["gone"]["name"] is None
    assert (found["away"]["name"], found["away"]["available"]) == ("away", False)


async def test_members_come_with_their_own_streams_and_in_chunks(rig: Rig) -> None:
    await cached(rig, "guilds,members")
    one = guild()
    members = one["members"]
    await rig.publish("GUILD_CREATE", {**one, "members": members[:3], "voice_states": []})
    chunk = {"guild_id": one["id"], "chunk_index": 0, "chunk_count": 1, "not_found": [], "members": members[3:]}
    await rig.publish("GUILD_MEMBERS_CHUNK", chunk)
    await until_shown(rig, one["id"], members=len(members))
    for nick in ("one", "two"):
        await rig.publish("GUILD_MEMBER_UPDATE", {**members[0], "guild_id": one["id"], "nick": nick})
    events = await rig.until_recorded("member", count=2)
    assert {entry["new"]: entry["old"] for entry in events}["two"] == "one"


async def test_one_process_at_a_time_writes_generations(rig: Rig, generations: Generations) -> None:
    async with opened(rig) as others:
        async with others.streams.writing():
            with pytest.raises(QueueBusyError):
                await generations.write_next(OWN_ID)
        newest = await generations.write_next(OWN_ID)
    assert newest is not None
    await rig.publish("GUILD_CREATE", guild(name="later"))
    assert await generations.write_next(OWN_ID, unless_beyond=newest.upto - 1) == newest
    later = await generations.write_next(OWN_ID, unless_beyond=newest.upto)
    assert later is not None
    assert later.upto > newest.upto


async def test_an_unknown_part_is_refused_in_a_sentence(rig: Rig) -> None:
    process = rig.start("--cache", "guilds,guildz")
    assert await process.wait() == 2
    assert len(process.sentences) == 1
    assert "'guildz': there is no such part of the cache; use guilds, channels" in process.sentences[0]
