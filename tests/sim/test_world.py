"""The simulated universe is deterministic, spreads over shards, and is valid to hikari."""

from __future__ import annotations

from unittest import mock

import hikari
import orjson
import pytest
from hikari.impl import EntityFactoryImpl
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_sim.opcodes import GUILD_MEMBERS
from gateway_sim.world import INTENT_GUILDS, World

TOKEN = "MTIz.abc.def"


@pytest.fixture(scope="module")
def world() -> World:
    return World(bot_token=TOKEN, guild_count=60, large_guilds=1)


@pytest.fixture(scope="module")
def factory() -> EntityFactoryImpl:
    return EntityFactoryImpl(mock.Mock(spec=hikari.RESTAware))


def test_the_same_seed_gives_the_same_universe_and_another_seed_another() -> None:
    first, again = (World(bot_token=TOKEN, seed=4, guild_count=5) for _ in range(2))
    other = World(bot_token=TOKEN, seed=5, guild_count=5)
    assert first.guild_ids == again.guild_ids
    assert [first.guild_create(g) for g in first.guild_ids] == [again.guild_create(g) for g in again.guild_ids]
    assert not set(first.guild_ids) & set(other.guild_ids)


@given(shard_count=st.integers(1, 64), guild_count=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_guilds_spread_evenly_over_the_shards_whatever_their_count(shard_count: int, guild_count: int) -> None:
    world = World(bot_token=TOKEN, guild_count=guild_count)
    sizes = [len(world.guilds_of_shard(shard, shard_count)) for shard in range(shard_count)]
    assert sum(sizes) == guild_count
    assert max(sizes) - min(sizes) <= 1


def test_ids_are_unique_and_tell_the_moment_even_when_the_clock_stands_still() -> None:
    world = World(bot_token=TOKEN, guild_count=1, clock=lambda: 1_800_000_000.0)
    ids = [int(world.next_id()) for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert (ids[0] >> 22) + 1_420_070_400_000 == 1_800_000_000_000


def test_a_channel_leads_back_to_its_guild_and_hashes_to_other_shards(world: World) -> None:
    pairs = [(c, g) for g in world.guild_ids for c in world.channel_ids(g)]
    assert all(world.guild_of_channel(c) == g for c, g in pairs)
    assert any((c >> 22) % 16 != (g >> 22) % 16 for c, g in pairs)
    assert world.guild_of_channel(pairs[0][0] + 1) is None


def test_a_direct_message_channel_leads_back_to_its_user(world: World) -> None:
    user = world.member_ids(world.guild_ids[0])[5]
    channel = int(world.dm_channel(user)["id"])
    assert world.user_of_dm_channel(channel) == user
    assert world.user_of_dm_channel(world.guild_ids[0]) is None


def test_most_guilds_have_2_to_20_kb_and_a_large_one_up_to_500_kb(world: World) -> None:
    sizes = [len(world.guild_create(g).data) for g in world.guild_ids]
    assert 400_000 < sizes[0] < 520_000
    assert all(2_000 < size < 22_000 for size in sizes[1:])


def test_a_large_guild_has_more_members_than_its_guild_create_shows(world: World) -> None:
    large = world.guild(world.guild_ids[0])
    assert large["large"] is True
    assert len(large["members"]) < large["member_count"] == len(world.members_of(world.guild_ids[0]))


def test_without_the_intent_for_presences_a_guild_create_shows_the_bot_and_who_is_in_voice(world: World) -> None:
    for guild_id in world.guild_ids:
        whole = orjson.loads(world.guild_create(guild_id).data)
        thin = orjson.loads(world.guild_create(guild_id, INTENT_GUILDS | GUILD_MEMBERS).data)
        in_voice = {state["user_id"] for state in whole["voice_states"]}
        assert {member["user"]["id"] for member in thin["members"]} == {str(world.application_id), *in_voice}
        assert thin["presences"] == []
        assert {**thin, "members": 0, "presences": 0} == {**whole, "members": 0, "presences": 0}


def test_every_guild_deserializes_in_hikari_in_all_its_parts(world: World, factory: EntityFactoryImpl) -> None:
    for guild_id in world.guild_ids:
        payload = orjson.loads(world.guild_create(guild_id).data)
        definition = factory.deserialize_gateway_guild(payload, user_id=hikari.Snowflake(world.application_id))
        assert definition.guild().id == guild_id
        members = definition.members()
        assert world.application_id in members
        assert definition.guild().owner_id in members
        for part in (definition.channels, definition.roles, definition.emojis, definition.presences):
            assert part() is not None
        assert definition.voice_states().keys() <= members.keys()
        assert definition.stickers() == definition.threads() == {}


def test_the_bot_and_its_application_deserialize_in_hikari(world: World, factory: EntityFactoryImpl) -> None:
    assert factory.deserialize_my_user(world.bot_user).is_bot
    application = factory.deserialize_application(world.application)
    assert application.id == world.application_id


def test_a_guild_of_nobody_is_refused(world: World) -> None:
    with pytest.raises(KeyError):
        world.guild(1234)


def test_a_negative_guild_count_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="must be 0 or more"):
        World(bot_token=TOKEN, guild_count=-1)
