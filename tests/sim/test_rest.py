"""REST answers as Discord does: what hikari reads, the errors, the limits, the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import hikari
import pytest
import pytest_asyncio

from gateway_sim.rest.rate_limits import RateLimits
from gateway_sim.world import World
from tests.sim.rest_client import LIMIT, TOKEN, Rest, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def world() -> World:
    return World(bot_token=TOKEN, guild_count=8, large_guilds=1)


@pytest_asyncio.fixture
async def rest(world: World) -> AsyncIterator[Rest]:
    async with running(world) as rest:
        yield rest


async def test_hikari_reads_what_a_bot_asks_for_at_start(rest: Rest, world: World) -> None:
    async with rest.hikari() as client:
        info = await client.fetch_gateway_bot_info()
        assert (info.url, info.shard_count) == ("ws://gateway.test", 3)
        assert info.session_start_limit.remaining == LIMIT["remaining"]
        assert await client.fetch_gateway_url() == "ws://gateway.test"
        assert (await client.fetch_my_user()).id == world.application_id
        assert (await client.fetch_application()).id == world.application_id
        assert len([guild async for guild in client.fetch_my_guilds()]) == 8
        assert len(await client.fetch_voice_regions()) == 3
        assert await client.fetch_available_sticker_packs() == []
    assert not rest.journal.unknown_routes


async def test_hikari_reads_a_guild_and_its_people(rest: Rest, world: World) -> None:
    for guild_id in world.guild_ids[:2]:
        someone = world.member_ids(guild_id)[1]
        async with rest.hikari() as client:
            assert (await client.fetch_guild(guild_id)).owner_id == someone
            assert len(await client.fetch_guild_channels(guild_id)) == len(world.channel_ids(guild_id))
            assert len(await client.fetch_roles(guild_id)) == len(world.role_ids(guild_id))
            assert len(await client.fetch_guild_emojis(guild_id)) == len(world.emoji_ids(guild_id))
            assert await client.fetch_guild_stickers(guild_id) == []
            members = [member.id async for member in client.fetch_members(guild_id)]
            assert sorted(members) == sorted(world.member_ids(guild_id))
            member = await client.fetch_member(guild_id, someone)
            found = await client.search_members(guild_id, member.username)
            assert someone in [m.id for m in found]
            assert (await client.fetch_user(someone)).username == member.username
            assert (await client.fetch_channel(world.voice_channel_id(guild_id))).type is hikari.ChannelType.GUILD_VOICE


async def test_a_changed_member_stays_changed_and_makes_an_event(rest: Rest, world: World) -> None:
    guild_id = world.guild_ids[1]
    someone, role = world.member_ids(guild_id)[1], world.role_ids(guild_id)[1]
    async with rest.hikari() as client:
        await client.edit_member(guild_id, someone, nickname="new name")
        await client.add_role_to_member(guild_id, someone, role)
        await client.edit_my_member(guild_id, nickname="me")
        member = await client.fetch_member(guild_id, someone)
    assert member.nickname == "new name"
    assert role in member.role_ids
    assert rest.sent() == ["GUILD_MEMBER_UPDATE"] * 3
    shown = {m["user"]["id"]: m["nick"] for m in world.guild(guild_id)["members"]}
    assert shown[str(someone)] == "new name"
    assert shown[str(world.application_id)] == "me"


async def test_a_message_lives_from_create_to_delete(rest: Rest, world: World) -> None:
    channel = world.text_channel_ids(world.guild_ids[0])[0]
    row = hikari.impl.MessageActionRowBuilder()
    row.add_interactive_button(hikari.ButtonStyle.PRIMARY, "press", label="Press")
    async with rest.hikari() as client:
        message = await client.create_message(
            channel, "hi", component=row, embed=hikari.Embed(title="t"), attachment=hikari.Bytes(b"abc", "a.txt")
        )
        assert message.attachments[0].size == 3
        assert message.embeds[0].title == "t"
        assert (await client.edit_message(channel, message, "changed")).content == "changed"
        assert (await client.fetch_message(channel, message)).edited_timestamp is not None
        await client.add_reaction(channel, message, "🔥")
        await client.add_reaction(channel, message, "name", 123456789012345678)
        await client.trigger_typing(channel)
        assert [m.id async for m in client.fetch_messages(channel)] == [message.id]
        await client.delete_message(channel, message)
        with pytest.raises(hikari.NotFoundError):
            await client.fetch_message(channel, message)
    reactions = ["MESSAGE_REACTION_ADD"] * 2
    assert rest.sent() == ["MESSAGE_CREATE", "MESSAGE_UPDATE", *reactions, "TYPING_START", "MESSAGE_DELETE"]
    assert all(dispatch.guild_id == world.guild_ids[0] for dispatch in rest.dispatches)


async def test_a_direct_message_belongs_to_no_guild(rest: Rest, world: World) -> None:
    async with rest.hikari() as client:
        channel = await client.create_dm_channel(world.member_ids(world.guild_ids[0])[2])
        await client.create_message(channel, "psst")
    assert [(d.type, d.guild_id, d.intents) for d in rest.dispatches] == [("MESSAGE_CREATE", 0, 1 << 12)]


async def test_messages_of_the_traffic_can_be_reacted_to_and_deleted_but_not_read(rest: Rest, world: World) -> None:
    place = f"/channels/{world.text_channel_ids(world.guild_ids[0])[0]}/messages/{world.next_id()}"
    assert (await rest.call("PUT", f"{place}/reactions/%F0%9F%94%A5/@me"))[0] == 204
    assert (await rest.call("DELETE", place))[0] == 204
    assert await rest.call("GET", place) == (404, {"message": "Unknown Message", "code": 10008})


async def test_messages_are_paged_newest_first(rest: Rest, world: World) -> None:
    place = f"/channels/{world.text_channel_ids(world.guild_ids[0])[0]}/messages"
    ids = [(await rest.call("POST", place, json={"content": str(n)}))[1]["id"] for n in range(5)]
    assert [m["id"] for m in (await rest.call("GET", f"{place}?limit=2"))[1]] == ids[:2:-1]
    assert [m["id"] for m in (await rest.call("GET", f"{place}?limit=2&before={ids[2]}"))[1]] == ids[1::-1]
    assert [m["id"] for m in (await rest.call("GET", f"{place}?limit=2&after={ids[1]}"))[1]] == ids[3:1:-1]


# --- commands


async def test_a_commands_version_tells_of_a_change_and_of_nothing_else(rest: Rest, world: World) -> None:
    place = f"/applications/{world.application_id}/commands"
    one, other = ({"name": name, "description": "d"} for name in ("one", "other"))
    _, first = await rest.call("PUT", place, json=[one, other])
    _, same = await rest.call("PUT", place, json=[one, other])
    assert same == first
    _, changed = await rest.call("PUT", place, json=[one, {**other, "description": "e"}])
    assert changed[0] == first[0]
    assert changed[1]["id"] == first[1]["id"]
    assert int(changed[1]["version"]) > int(first[1]["version"])


async def test_commands_keep_their_ids_when_they_are_overwritten(rest: Rest, world: World) -> None:
    async with rest.hikari() as client:
        for scope in ({}, {"guild": world.guild_ids[1]}):
            builders = [client.slash_command_builder("ping", "pong"), client.context_menu_command_builder(2, "Who")]
            first = await client.set_application_commands(world.application_id, builders, **scope)
            builders[0].set_description("other")
            second = await client.set_application_commands(world.application_id, builders[:1], **scope)
            assert [command.id for command in second] == [first[0].id]
            fetched = await client.fetch_application_commands(world.application_id, **scope)
            assert [command.description for command in fetched] == ["other"]
            one = await client.create_slash_command(world.application_id, "new", "thing", **scope)
            await client.edit_application_command(world.application_id, one, name="newer", **scope)
            assert (await client.fetch_application_command(world.application_id, one, **scope)).name == "newer"
            await client.delete_application_command(world.application_id, one, **scope)
            assert len(await client.fetch_application_commands(world.application_id, **scope)) == 1


async def test_localizations_are_shown_only_on_demand(rest: Rest, world: World) -> None:
    place = f"/applications/{world.application_id}/commands"
    command = {"name": "ping", "description": "pong", "name_localizations": {"de": "pling"}}
    assert (await rest.call("PUT", place, json=[command]))[0] == 200
    assert "name_localizations" not in (await rest.call("GET", place))[1][0]
    shown = (await rest.call("GET", f"{place}?with_localizations=true"))[1][0]
    assert shown["name_localizations"] == {"de": "pling"}


@pytest.mark.parametrize(
    ("command", "path", "code"),
    [
        ({"name": "Ping", "description": "x"}, ("0", "name"), "APPLICATION_COMMAND_INVALID_NAME"),
        ({"name": "ping"}, ("0", "description"), "BASE_TYPE_REQUIRED"),
        ({"name": "ping", "description": "x" * 101}, ("0", "description"), "BASE_TYPE_BAD_LENGTH"),
        ({"name": "x", "type": 9}, ("0", "type"), "BASE_TYPE_CHOICES"),
        (
            {"name": "a", "description": "b", "options": [{"name": "x", "description": "y", "type": 12}]},
            ("0", "options", "0", "type"),
            "BASE_TYPE_CHOICES",
        ),
        (
            {
                "name": "a",
                "description": "b",
                "options": [
                    {"name": "x", "description": "y", "type": 3},
                    {"name": "z", "description": "y", "type": 3, "required": True},
                ],
            },
            ("0", "options", "1"),
            "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
        ),
    ],
)
async def test_a_broken_command_is_refused_at_the_field(
    rest: Rest, world: World, command: Any, path: tuple[str, ...], code: str
) -> None:
    status, body = await rest.call("PUT", f"/applications/{world.application_id}/commands", json=[command])
    assert (status, body["code"], body["message"]) == (400, 50035, "Invalid Form Body")
    node = body["errors"]
    for key in path:
        node = node[key]
    assert [error["code"] for error in node["_errors"]] == [code]


async def test_commands_of_another_application_are_forbidden(rest: Rest) -> None:
    status, body = await rest.call("GET", "/applications/1234/commands")
    assert (status, body["code"]) == (403, 20012)


# --- errors and limits


@pytest.mark.parametrize("token", ["wrong", None])
async def test_a_wrong_or_missing_bot_token_is_unauthorized(rest: Rest, token: str | None) -> None:
    assert await rest.call("GET", "/users/@me", token=token) == (401, {"message": "401: Unauthorized", "code": 0})


async def test_hikari_sees_a_wrong_bot_token_as_unauthorized(rest: Rest) -> None:
    async with rest.hikari("wrong") as client:
        with pytest.raises(hikari.UnauthorizedError):
            await client.fetch_my_user()


async def test_an_unknown_route_is_not_found_and_counted(rest: Rest) -> None:
    for _ in range(2):
        assert await rest.call("GET", "/no/such/route") == (404, {"message": "404: Not Found", "code": 0})
    assert rest.journal.unknown_routes == {"GET /api/v10/no/such/route": 2}


async def test_a_known_path_with_another_method_is_not_allowed(rest: Rest) -> None:
    assert (await rest.call("DELETE", "/users/@me"))[0] == 405
    assert not rest.journal.unknown_routes


@pytest.mark.parametrize("prefix", ["/api/v10", "/api/v9", "/api", "/v10", ""])
async def test_the_api_stands_below_every_prefix_that_clients_use(rest: Rest, prefix: str) -> None:
    async with rest.http.get(f"{prefix}/gateway") as response:
        assert (response.status, await response.json()) == (200, {"url": "ws://gateway.test"})


async def test_an_old_api_version_is_refused(rest: Rest) -> None:
    async with rest.http.get("/api/v6/gateway") as response:
        assert (response.status, (await response.json())["code"]) == (400, 50041)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, 50006),
        ({"content": ""}, 50006),
        ({"content": "x" * 2001}, 50035),
        ({"content": ["x"]}, 50035),
        ({"content": "x", "embeds": {"title": "x"}}, 50035),
        ({"content": "x", "embeds": [{"title": "x"}] * 11}, 50035),
        ({"content": "x", "components": [{"type": 1, "components": []}]}, 50035),
        ({"content": "x", "flags": "many"}, 50035),
        ([], 50035),
    ],
)
async def test_a_broken_message_is_refused(rest: Rest, world: World, body: Any, code: int) -> None:
    place = f"/channels/{world.text_channel_ids(world.guild_ids[0])[0]}/messages"
    status, error = await rest.call("POST", place, json=body)
    assert (status, error["code"]) == (400, code)
    assert not rest.dispatches


async def test_what_is_no_json_is_refused(rest: Rest, world: World) -> None:
    place = f"/channels/{world.text_channel_ids(world.guild_ids[0])[0]}/messages"
    assert (await rest.call("POST", place, data=b"{"))[1]["code"] == 50109
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    async with rest.http.post(place, headers={"Authorization": f"Bot {TOKEN}", **form}, data=b"nonsense") as response:
        assert response.status == 400


async def test_a_multipart_form_gives_message_and_files(rest: Rest, world: World) -> None:
    form = aiohttp.FormData()
    form.add_field("payload_json", '{"content": "with file"}', content_type="application/json")
    form.add_field("files[0]", b"12345", filename="five.bin")
    place = f"/channels/{world.text_channel_ids(world.guild_ids[0])[0]}/messages"
    status, message = await rest.call("POST", place, data=form)
    assert status == 200
    assert message["content"] == "with file"
    assert [(a["filename"], a["size"]) for a in message["attachments"]] == [("five.bin", 5)]


async def test_every_answer_carries_the_state_of_its_limit(rest: Rest) -> None:
    async with rest.http.get("/api/v10/users/@me", headers={"Authorization": f"Bot {TOKEN}"}) as response:
        assert response.headers["X-RateLimit-Limit"] == "50"
        assert response.headers["X-RateLimit-Remaining"] == "49"
        assert float(response.headers["X-RateLimit-Reset-After"]) <= 1.0
        assert response.headers["X-RateLimit-Bucket"]


async def test_beyond_the_limit_there_is_a_real_429(world: World) -> None:
    async with running(world, rate_limit=2, rate_window_s=60.0) as rest:
        statuses = [(await rest.call("GET", "/users/@me"))[0] for _ in range(2)]
        status, body = await rest.call("GET", "/users/@me")
        assert [*statuses, status] == [200, 200, 429]
        assert body["message"] == "You are being rate limited."
        assert body["global"] is False
        assert 0 < body["retry_after"] <= 60
        assert (await rest.call("GET", "/applications/@me"))[0] == 200
        assert rest.journal.rate_limited_count == 1


def test_a_limit_counts_each_channel_for_itself_and_opens_again_after_its_window() -> None:
    limits = RateLimits(limit=1, window_s=5.0)
    assert limits.take("POST /x", "channel 1", 100.0).retry_after_s is None
    assert limits.take("POST /x", "channel 2", 101.0).retry_after_s is None
    assert limits.take("POST /x", "channel 1", 104.0).retry_after_s == 1.0
    assert limits.take("POST /x", "channel 1", 105.0).retry_after_s is None


def test_a_limit_of_nothing_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match="at least 1 request"):
        RateLimits(limit=0)


async def test_the_journal_keeps_every_request(rest: Rest, world: World) -> None:
    place = f"/channels/{world.text_channel_ids(world.guild_ids[0])[0]}/messages"
    await rest.call("POST", place, json={"content": "kept"})
    await rest.call("GET", "/users/@me", token="wrong")
    entries = [(r.method, r.path, r.body, r.status) for r in rest.journal.requests]
    assert entries == [
        ("POST", f"/api/v10{place}", {"content": "kept"}, 200),
        ("GET", "/api/v10/users/@me", None, 401),
    ]
    assert rest.journal.to_json()["request_count"] == 2
