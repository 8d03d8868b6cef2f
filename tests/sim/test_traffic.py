"""Every dispatch of every kind is valid to hikari, unlike the others, and of a realistic size."""

from __future__ import annotations

from typing import Any
from unittest import mock

import hikari
import orjson
import pytest
from hikari.impl import EntityFactoryImpl, EventFactoryImpl
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_sim.dispatch import Dispatch
from gateway_sim.interaction_book import Outcome
from gateway_sim.traffic import MIXES, Traffic
from gateway_sim.traffic.kinds import KINDS
from gateway_sim.world import World

TOKEN = "MTIz.abc.def"

SHARD_AND_PAYLOAD = {
    "MESSAGE_CREATE": "deserialize_message_create_event",
    "MESSAGE_DELETE_BULK": "deserialize_guild_message_delete_bulk_event",
    "MESSAGE_REACTION_ADD": "deserialize_message_reaction_add_event",
    "MESSAGE_REACTION_REMOVE": "deserialize_message_reaction_remove_event",
    "TYPING_START": "deserialize_typing_start_event",
    "GUILD_MEMBER_ADD": "deserialize_guild_member_add_event",
    "GUILD_BAN_ADD": "deserialize_guild_ban_add_event",
    "GUILD_BAN_REMOVE": "deserialize_guild_ban_remove_event",
    "GUILD_CREATE": "deserialize_guild_join_event",
    "CHANNEL_CREATE": "deserialize_guild_channel_create_event",
    "CHANNEL_DELETE": "deserialize_guild_channel_delete_event",
    "THREAD_CREATE": "deserialize_guild_thread_create_event",
    "GUILD_ROLE_CREATE": "deserialize_guild_role_create_event",
    "INVITE_CREATE": "deserialize_invite_create_event",
    "INTERACTION_CREATE": "deserialize_interaction_create_event",
}
WITH_OLD = {
    "MESSAGE_UPDATE": ("deserialize_message_update_event", "old_message"),
    "MESSAGE_DELETE": ("deserialize_message_delete_event", "old_message"),
    "PRESENCE_UPDATE": ("deserialize_presence_update_event", "old_presence"),
    "GUILD_MEMBER_UPDATE": ("deserialize_guild_member_update_event", "old_member"),
    "GUILD_MEMBER_REMOVE": ("deserialize_guild_member_remove_event", "old_member"),
    "VOICE_STATE_UPDATE": ("deserialize_voice_state_update_event", "old_state"),
    "GUILD_UPDATE": ("deserialize_guild_update_event", "old_guild"),
    "CHANNEL_UPDATE": ("deserialize_guild_channel_update_event", "old_channel"),
    "GUILD_ROLE_UPDATE": ("deserialize_guild_role_update_event", "old_role"),
    "GUILD_ROLE_DELETE": ("deserialize_guild_role_delete_event", "old_role"),
    "GUILD_EMOJIS_UPDATE": ("deserialize_guild_emojis_update_event", "old_emojis"),
}


class HikariReader:
    """Deserializes a dispatch with hikari's public factories."""

    def __init__(self, own_id: int) -> None:
        app = mock.Mock(spec=hikari.RESTAware)
        app.entity_factory = EntityFactoryImpl(app)
        self._events = EventFactoryImpl(app)
        self._shard = mock.Mock(spec=hikari.api.GatewayShard)
        self._shard.get_user_id.return_value = hikari.Snowflake(own_id)

    def read(self, dispatch: Dispatch) -> Any:
        payload = orjson.loads(dispatch.data)
        if (name := SHARD_AND_PAYLOAD.get(dispatch.type)) is not None:
            return getattr(self._events, name)(self._shard, payload)
        name, old = WITH_OLD[dispatch.type]
        return getattr(self._events, name)(self._shard, payload, **{old: None})


@pytest.fixture(scope="module")
def world() -> World:
    return World(bot_token=TOKEN, guild_count=40, large_guilds=1)


@pytest.fixture(scope="module")
def reader(world: World) -> HikariReader:
    return HikariReader(world.application_id)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_by_hikari_and_gives_no_two_alike(world: World, reader: HikariReader, kind: str) -> None:
    traffic = Traffic(world, world.guild_ids, mix={kind: 1})
    dispatches = [traffic.next() for _ in range(30 if kind == "guild" else 400)]
    for dispatch in dispatches:
        assert reader.read(dispatch) is not None
    assert len({dispatch.data for dispatch in dispatches}) == len(dispatches)
    assert all((d.guild_id == 0) == (kind == "dm") for d in dispatches)


@given(seed=st.integers(0, 10**6), world_seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_any_seed_gives_a_mixed_stream_that_hikari_reads(seed: int, world_seed: int) -> None:
    world = World(bot_token=TOKEN, guild_count=6, large_guilds=0, seed=world_seed)
    reader = HikariReader(world.application_id)
    traffic = Traffic(world, world.guild_ids, seed=seed)
    dispatches = [traffic.next() for _ in range(300)]
    for dispatch in dispatches:
        reader.read(dispatch)
        assert dispatch.guild_id in world.guild_ids
    assert len({dispatch.data for dispatch in dispatches}) == len(dispatches)


def test_the_payload_names_the_guild_of_the_dispatch_and_of_no_other(world: World) -> None:
    mine = world.guilds_of_shard(1, 4)
    traffic = Traffic(world, mine)
    for _ in range(3000):
        dispatch = traffic.next()
        payload = orjson.loads(dispatch.data)
        named = payload.get("guild_id") or payload["id"]
        assert int(named) == dispatch.guild_id
        assert dispatch.guild_id in mine


def test_sizes_are_those_of_discord(world: World) -> None:
    def sizes(mix: str, count: int) -> list[int]:
        traffic = Traffic(world, world.guild_ids, mix=mix)
        return [len(traffic.next().data) for _ in range(count)]

    messages, presences, guilds = sizes("messages", 4000), sizes("presences", 1000), sizes("guilds", 60)
    assert 300 <= min(messages) < 700
    assert 2000 < max(messages) <= 4096
    assert all(230 <= size <= 330 for size in presences)
    assert max(guilds) > 400_000
    assert min(guilds) < 20_000


def test_the_same_seed_gives_the_same_stream_but_for_ids_and_moments() -> None:
    streams = []
    for _ in range(2):
        world = World(bot_token=TOKEN, guild_count=10, large_guilds=0, clock=lambda: 1.8e9)
        traffic = Traffic(world, world.guild_ids, seed=7)
        streams.append([traffic.next() for _ in range(500)])
    assert streams[0] == streams[1]


def test_a_second_stream_beside_the_first_repeats_none_of_its_dispatches(world: World) -> None:
    streams = [Traffic(world, world.guild_ids, mix="presences", seed=1) for _ in range(2)]
    data = [stream.next().data for _ in range(2000) for stream in streams]
    assert len(set(data)) == len(data)


def test_every_guild_of_the_shard_gets_its_share_of_messages(world: World) -> None:
    traffic = Traffic(world, world.guild_ids, mix="messages")
    assert {traffic.next().guild_id for _ in range(4096)} == set(world.guild_ids)


def test_the_mixed_stream_holds_every_kind_of_interaction(world: World) -> None:
    traffic = Traffic(world, world.guild_ids)
    payloads = [orjson.loads(d.data) for d in (traffic.next() for _ in range(8192)) if d.type == "INTERACTION_CREATE"]
    assert {payload["type"] for payload in payloads} == {2, 3, 4, 5}
    assert {p["data"]["type"] for p in payloads if p["type"] == 2} == {1, 2, 3}
    assert {p["data"]["component_type"] for p in payloads if p["type"] == 3} == {2, 3, 5}


def test_an_interaction_of_the_stream_can_be_answered_once(world: World) -> None:
    traffic = Traffic(world, world.guild_ids, mix={"button": 1})
    payload = orjson.loads(traffic.next().data)
    answer = (payload["id"], payload["token"], 4, world.clock())
    assert world.interactions.answer(*answer) is Outcome.ACCEPTED
    assert world.interactions.answer(*answer) is Outcome.ALREADY_ANSWERED


def test_intents_are_set_for_all_but_interactions(world: World) -> None:
    traffic = Traffic(world, world.guild_ids)
    for dispatch in (traffic.next() for _ in range(2000)):
        assert (dispatch.intents == 0) == (dispatch.type == "INTERACTION_CREATE")


@pytest.mark.parametrize(
    ("mix", "sentence"),
    [
        ("nonsense", "there is no mix 'nonsense': use mixed, messages"),
        ({"messagez": 1}, "there is no kind of traffic messagez"),
        ({"message": 0}, "at least one kind with a weight above 0"),
        ({"message": -1}, "none below 0"),
    ],
)
def test_a_wrong_mix_is_refused_with_a_sentence(world: World, mix: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Traffic(world, world.guild_ids, mix=mix)


def test_no_guilds_are_refused_with_a_sentence(world: World) -> None:
    with pytest.raises(ValueError, match="at least one guild"):
        Traffic(world, ())


def test_the_named_mixes_know_only_kinds_that_exist() -> None:
    assert all(weights.keys() <= KINDS.keys() for weights in MIXES.values())
