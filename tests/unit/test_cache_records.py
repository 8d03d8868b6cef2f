"""A guild of JSON is, after any dispatches, what hikari's own event manager makes of them in its cache."""

from __future__ import annotations

from typing import Any

import hikari
import orjson
import pytest
from hikari import impl
from hikari.api import CacheComponents

from consumers import Bot
from consumers.cache_changes import GuildChanges, apply
from consumers.cache_parts import CacheParts
from consumers.cache_records import CHUNK_SIZE, GuildRecord, guild_id_of, pack, unpack
from consumers.cache_writer import CacheWriter
from consumers.errors import MalformedDispatchError
from gateway_sim.guild_payloads import GATEWAY_ONLY
from gateway_sim.world import World
from tests.unit.test_consumer_event_manager import shard

WORLD = World(bot_token="t", guild_count=8, large_guilds=1)
GUILD = WORLD.guild_ids[3]
OWN_ID = 9


def created(guild_id: int = GUILD, **changes: Any) -> dict[str, Any]:
    return {**WORLD.guild(guild_id), **changes}


def of_guild(**fields: Any) -> dict[str, Any]:
    return {"guild_id": str(GUILD), **fields}


def thread(number: int, parent: str) -> dict[str, Any]:
    metadata = {"archived": False, "auto_archive_duration": 60, "archive_timestamp": "2026-01-02T03:04:05+00:00"}
    counts = {"message_count": 1, "member_count": 1, "rate_limit_per_user": 0, "flags": 0}
    names = {"id": str(number), "type": 11, "name": f"t{number}", "parent_id": parent, "owner_id": "5"}
    return of_guild(**names, **counts, last_message_id=None, thread_metadata={**metadata, "locked": False})


FIRST = created()
CHANNEL, VOICE = FIRST["channels"][1], FIRST["channels"][3]
ROLE, MEMBER, OTHER = FIRST["roles"][1], FIRST["members"][0], FIRST["members"][1]
SEEN = FIRST["presences"][0]
STATE = {**FIRST["voice_states"][0], "user_id": MEMBER["user"]["id"], "guild_id": str(GUILD)}
HISTORY: list[tuple[str, dict[str, Any]]] = [
    ("GUILD_UPDATE", {key: value for key, value in FIRST.items() if key not in GATEWAY_ONLY} | {"name": "renamed"}),
    ("CHANNEL_CREATE", of_guild(**{**CHANNEL, "id": "71", "name": "made"})),
    ("CHANNEL_UPDATE", of_guild(**{**CHANNEL, "name": "changed"})),
    ("THREAD_CREATE", thread(81, CHANNEL["id"])),
    ("THREAD_CREATE", thread(82, "71")),
    ("THREAD_UPDATE", {**thread(81, CHANNEL["id"]), "name": "t81 changed"}),
    ("CHANNEL_DELETE", of_guild(**{**CHANNEL, "id": "71", "name": "made"})),
    ("GUILD_ROLE_CREATE", of_guild(role={**ROLE, "id": "91", "name": "new role"})),
    ("GUILD_ROLE_UPDATE", of_guild(role={**ROLE, "name": "other role"})),
    ("GUILD_ROLE_DELETE", of_guild(role_id="91")),
    ("GUILD_EMOJIS_UPDATE", of_guild(emojis=FIRST["emojis"][:1])),
    ("GUILD_MEMBER_ADD", of_guild(**{**MEMBER, "user": {**MEMBER["user"], "id": "55", "username": "joined"}})),
    ("GUILD_MEMBER_UPDATE", of_guild(**{**MEMBER, "nick": "nick"})),
    ("GUILD_MEMBER_REMOVE", of_guild(user=FIRST["members"][-1]["user"])),
    ("VOICE_STATE_UPDATE", {**STATE, "member": MEMBER}),
    ("VOICE_STATE_UPDATE", {**FIRST["voice_states"][-1], "guild_id": str(GUILD), "channel_id": None, "member": OTHER}),
    ("PRESENCE_UPDATE", of_guild(user={"id": "55"}, status="idle", activities=[], client_status={"web": "idle"})),
    ("PRESENCE_UPDATE", of_guild(user=SEEN["user"], status="offline", activities=[], client_status={})),
]  # fmt: skip


def state(history: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """What hikari's cache holds after the dispatches, as texts."""
    bot = Bot("amqp://127.0.0.1/", "token")
    cache = impl.CacheImpl(bot, impl.CacheSettings(components=CacheComponents.ALL))
    writer = CacheWriter(bot.entity_factory, bot.event_factory, cache, CacheParts.parse("all"))
    for event_type, payload in history:
        writer.apply(event_type, shard(), payload)
    guild = cache.get_guild(GUILD)
    return {
        "guild": (guild.name, guild.owner_id, guild.member_count) if guild else None,
        "available": cache.get_available_guild(GUILD) is not None,
        "channels": {int(k): str(v.name) for k, v in cache.get_guild_channels_view_for_guild(GUILD).items()},
        "threads": {int(k): v.name for k, v in cache.get_threads_view_for_guild(GUILD).items()},
        "roles": {int(k): (v.name, int(v.permissions)) for k, v in cache.get_roles_view_for_guild(GUILD).items()},
        "emojis": {int(k): v.name for k, v in cache.get_emojis_view_for_guild(GUILD).items()},
        "members": {int(k): (v.nickname, v.username) for k, v in cache.get_members_view_for_guild(GUILD).items()},
        "presences": {int(k): str(v.visible_status) for k, v in cache.get_presences_view_for_guild(GUILD).items()},
        "voice": {int(k): v.channel_id for k, v in cache.get_voice_states_view_for_guild(GUILD).items()},
    }


def snapshot(history: list[tuple[str, dict[str, Any]]], heavy: tuple[str, ...] = ("members", "presences")) -> Any:
    record = None
    for event_type, payload in history:
        record = apply(record, event_type, payload, own_id=OWN_ID)
    return list(record.frames(heavy=heavy)) if record else []


@pytest.mark.parametrize("count", range(len(HISTORY) + 1))
def test_a_snapshot_after_each_dispatch_makes_the_same_cache_as_the_dispatches(count: int) -> None:
    history = [("GUILD_CREATE", created()), *HISTORY[:count]]
    found, expected = state(snapshot(history)), state(history)
    assert found == expected
    assert count == 0 or expected != state([("GUILD_CREATE", created()), *HISTORY[: count - 1]])


def test_a_large_guild_comes_in_chunks_its_speakers_first() -> None:
    members = [{**MEMBER, "user": {**MEMBER["user"], "id": str(1000 + n)}} for n in range(CHUNK_SIZE * 2 + 5)]
    speaking = {**STATE, "user_id": str(1000 + CHUNK_SIZE * 2)}
    history = [("GUILD_CREATE", created(members=members, voice_states=[speaking]))]
    frames = snapshot(history)
    assert [event_type for event_type, _ in frames] == ["GUILD_CREATE", "GUILD_MEMBERS_CHUNK", "GUILD_MEMBERS_CHUNK"]
    assert state(frames) == state(history)
    assert len(state(frames)["members"]) == len(members)
    light = snapshot(history, heavy=())
    assert [len(payload["members"]) for _, payload in light] == [1]


def test_a_guild_that_is_unavailable_stays_so_and_one_that_was_left_has_no_frames() -> None:
    away = ("GUILD_DELETE", {"id": str(GUILD), "unavailable": True})
    history = [("GUILD_CREATE", created()), away]
    assert state(snapshot(history)) == state(history)
    assert not state(history)["available"]
    assert snapshot([*history, ("GUILD_DELETE", {"id": str(GUILD)})]) == []
    assert snapshot([("CHANNEL_UPDATE", of_guild(**CHANNEL))]) == []


def test_what_cannot_be_read_changes_nothing() -> None:
    history = [("GUILD_CREATE", created())]
    bad = [("CHANNEL_UPDATE", of_guild(name="no id")), ("GUILD_ROLE_CREATE", of_guild(role=None)), ("GUILD_CREATE", {})]
    assert snapshot([*history, *bad]) == snapshot(history)


def test_the_own_leave_of_a_thread_removes_it() -> None:
    record = GuildRecord(created(threads=[thread(81, "1"), thread(82, "1")]))
    for number, who in ((81, OWN_ID), (82, 77)):
        record.apply("THREAD_MEMBERS_UPDATE", of_guild(id=str(number), removed_member_ids=[str(who)]), own_id=OWN_ID)
    assert set(record.entities["threads"]) == {"82"}


def test_a_thread_sync_replaces_the_threads_of_its_channels() -> None:
    record = GuildRecord(created(threads=[thread(81, "1"), thread(82, "2")]))
    record.apply("THREAD_LIST_SYNC", of_guild(channel_ids=["1"], threads=[thread(83, "1")]), own_id=OWN_ID)
    assert set(record.entities["threads"]) == {"82", "83"}
    record.apply("THREAD_LIST_SYNC", of_guild(threads=[]), own_id=OWN_ID)
    assert record.entities["threads"] == {}


def test_the_guild_of_a_dispatch() -> None:
    assert guild_id_of("GUILD_UPDATE", {"id": "5", "guild_id": "6"}) == 5
    assert guild_id_of("CHANNEL_UPDATE", {"id": "5", "guild_id": "6"}) == 6
    assert guild_id_of("MESSAGE_CREATE", {"id": "5"}) is None


def test_a_broken_body_is_malformed() -> None:
    assert unpack(pack({"a": 1})) == {"a": 1}
    for body in (b"", b"x", pack({})[:-1]):
        with pytest.raises(MalformedDispatchError):
            unpack(body)


# Changes of a slice

HEADERS = {"shard": (GUILD >> 22) % 2, "shard_count": 2}


def frame(payload: Any) -> bytes:
    return orjson.dumps({"op": 0, "t": "X", "s": 1, "d": payload})


def changes(*taken: tuple[str, dict[str, Any]]) -> GuildChanges:
    made = GuildChanges(own_id=OWN_ID, heavy=())
    for offset, (event_type, payload) in enumerate(taken):
        made.take(offset, event_type, HEADERS, frame(payload))
    return made


OLD = [(event_type, pack(payload)) for event_type, payload in GuildRecord(created()).frames(heavy=())]


def test_a_guild_of_which_nothing_was_said_is_untouched() -> None:
    made = changes(("CHANNEL_UPDATE", of_guild(**CHANNEL)))
    assert not made.is_untouched(GUILD)
    assert made.is_untouched(WORLD.guild_ids[4])


def test_a_guild_that_a_new_session_does_not_name_is_gone_unless_it_comes_again() -> None:
    ready = ("READY", {"guilds": []})
    assert changes(ready).applied(GUILD, OLD) == []
    assert not changes(ready).is_untouched(GUILD)
    assert changes(("READY", {"guilds": [{"id": str(GUILD)}]})).is_untouched(GUILD)
    assert changes(ready).is_untouched(GUILD ^ (1 << 22)), "a guild of another shard"
    again = changes(ready, ("GUILD_CREATE", created(name="again"))).applied(GUILD, OLD)
    assert unpack(again[0][1])["name"] == "again"
    assert changes(("GUILD_CREATE", created()), ready).applied(GUILD, []) == []


def test_changes_are_applied_to_what_the_guild_was() -> None:
    made = changes(("CHANNEL_UPDATE", of_guild(**{**CHANNEL, "name": "new"}))).applied(GUILD, OLD)
    assert "new" in {channel["name"] for channel in unpack(made[0][1])["channels"]}


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"{}", frame([]), frame({"guilds": [{}]}), frame({"guilds": 3})])
def test_a_ready_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedDispatchError):
        GuildChanges(own_id=OWN_ID, heavy=()).take(0, "READY", HEADERS, body)


def test_hikari_makes_an_old_guild_without_a_listener_of_the_bot() -> None:
    bot = Bot("amqp://127.0.0.1/", "token")
    cache = impl.CacheImpl(bot, impl.CacheSettings(components=CacheComponents.GUILDS))
    writer = CacheWriter(bot.entity_factory, bot.event_factory, cache, CacheParts.parse("guilds"))
    writer.apply("GUILD_CREATE", shard(), created(name="old"))
    event = writer.apply(*("GUILD_UPDATE", shard(), {**HISTORY[0][1], "name": "new"}))
    assert isinstance(event, hikari.GuildUpdateEvent)
    assert event.old_guild is not None
    assert (event.old_guild.name, event.guild.name) == ("old", "new")


def cache_writer() -> CacheWriter:
    bot = Bot("amqp://127.0.0.1/", "token")
    cache = impl.CacheImpl(bot, impl.CacheSettings(components=CacheComponents.ALL))
    return CacheWriter(bot.entity_factory, bot.event_factory, cache, CacheParts.parse("guilds,members"))


def test_only_the_own_member_is_kept_and_no_others_are_asked_for_if_the_settings_say_so() -> None:
    bot = Bot("amqp://127.0.0.1/", "token")
    settings = impl.CacheSettings(components=CacheComponents.ALL, only_my_member=True)
    cache = impl.CacheImpl(bot, settings)
    writer = CacheWriter(bot.entity_factory, bot.event_factory, cache, CacheParts.parse("all"))
    own = {**MEMBER, "user": {**MEMBER["user"], "id": str(OWN_ID)}}
    for members in ([*FIRST["members"], own], FIRST["members"]):  # a snapshot may have it in a chunk
        writer.apply("GUILD_CREATE", shard(), {**FIRST, "members": members, "member_count": 5000})
        assert writer.guilds_lacking_members == ()
        asked = chunk("cache-1", 0, [*FIRST["members"], own])
        assert writer.apply("GUILD_MEMBERS_CHUNK", shard(), asked) is None  # else listeners would get the own one only
        in_voice = cache.get_voice_states_view_for_guild(GUILD)
        kept = set(cache.get_members_view_for_guild(GUILD)) - set(in_voice)
        assert kept == {OWN_ID}


def chunk(nonce: str, index: int, members: list[Any]) -> dict[str, Any]:
    return of_guild(members=members, chunk_index=index, chunk_count=2, not_found=[], nonce=nonce)


def test_members_are_complete_after_the_last_chunk_that_was_asked_for_the_cache() -> None:
    members = FIRST["members"]
    thin = {**FIRST, "members": members[:1], "voice_states": [], "presences": []}
    writer, record = cache_writer(), GuildRecord(thin)
    writer.apply("GUILD_CREATE", shard(), thin)
    assert writer.guilds_lacking_members == (GUILD,)
    for nonce, index, is_complete in (("a user's", 1, False), ("cache-1", 0, False), ("cache-1", 1, True)):
        payload = chunk(nonce, index, members[1:2])
        writer.apply("GUILD_MEMBERS_CHUNK", shard(), payload)
        record.apply("GUILD_MEMBERS_CHUNK", payload, own_id=OWN_ID)
        assert writer.guilds_lacking_members == (() if is_complete else (GUILD,))
        again = cache_writer()
        for event_type, frame in record.frames(heavy=("members",)):
            again.apply(event_type, shard(), frame)
        assert again.guilds_lacking_members == (() if is_complete else (GUILD,))
    writer.apply("GUILD_CREATE", shard(), thin)
    assert writer.guilds_lacking_members == (GUILD,)
    writer.apply("GUILD_DELETE", shard(), {"id": str(GUILD), "unavailable": True})
    assert writer.guilds_lacking_members == ()


def test_members_that_all_came_by_themselves_are_not_asked_for() -> None:
    writer = cache_writer()
    writer.apply("GUILD_CREATE", shard(), FIRST)
    assert writer.guilds_lacking_members == ()
    writer.apply("GUILD_CREATE", shard(), {**FIRST, "members": FIRST["members"][:2], "voice_states": []})
    writer.count_members(GUILD)
    assert writer.guilds_lacking_members == (GUILD,)
    writer.apply("GUILD_MEMBERS_CHUNK", shard(), chunk("a user's", 0, FIRST["members"]))
    writer.count_members(GUILD)
    assert writer.guilds_lacking_members == ()
