"""A guild as REST tells it, asked by hikari's own client: what its GUILD_CREATE would say."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import hikari
import pytest
from aiohttp import web
from hikari import impl

from consumers import Bot
from consumers.cache_records import GuildRecord
from consumers.cache_rest import MOST_MEMBERS, GuildRest, JsonFactory, Pace
from gateway_sim.guild_payloads import GATEWAY_ONLY
from gateway_sim.world import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WORLD = World(bot_token="t", guild_count=4, large_guilds=0)
GUILD = WORLD.guild_ids[2]
CREATE = WORLD.guild(GUILD)
OWN_ID = WORLD.application_id
THREADS = [{"id": "71", "type": 11, "name": "joined"}, {"id": "72", "type": 11, "name": "other"}]
OWN_THREAD = {"id": "71", "user_id": str(OWN_ID), "join_timestamp": "2026-01-02T03:04:05+00:00", "flags": 1}
HIDDEN = {"message": "Missing Access", "code": 50001}

Answers = dict[str, Any]


def answers(**changes: Any) -> Answers:
    """By path below the guild; an int is a status without content."""
    guild = {key: value for key, value in CREATE.items() if key not in GATEWAY_ONLY}
    return {
        "": {**guild, "approximate_member_count": 300, "approximate_presence_count": 5},
        "/channels": CREATE["channels"],
        "/threads/active": {"threads": THREADS, "members": [OWN_THREAD]},
        f"/members/{OWN_ID}": WORLD.member(GUILD, OWN_ID) | {"joined_at": "2026-01-02T03:04:05+00:00"},
        "/members": [],
        **{key.replace("_", "/"): value for key, value in changes.items()},
    }


@contextlib.asynccontextmanager
async def asked(given: Answers, *, with_members: bool = True) -> AsyncIterator[GuildRest]:
    """Whoever asks for GUILD_CREATE of what a server answers."""

    async def serve(request: web.Request) -> web.Response:
        answer = given.get(request.path.removeprefix(f"/guilds/{GUILD}"), 404)
        if callable(answer):
            answer = answer(int(request.query.get("after", "0")))
        is_refused = isinstance(answer, int)
        return web.json_response(HIDDEN if is_refused else answer, status=answer if is_refused else 200)

    app = web.Application()
    app.router.add_get("/{tail:.*}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    client = impl.RESTClientImpl(
        cache=None,
        entity_factory=JsonFactory(Bot("amqp://127.0.0.1/", "token")),
        executor=None,
        http_settings=impl.HTTPSettings(),
        proxy_settings=impl.ProxySettings(),
        token="token",
        token_type=hikari.TokenType.BOT,
        rest_url=f"http://{host}:{port}",
    )
    client.start()
    try:
        yield GuildRest(client, own_id=OWN_ID, with_members=with_members, pace=Pace(1_000_000))
    finally:
        await client.close()
        await runner.cleanup()


async def test_rest_gives_what_a_guild_create_says_but_for_voice_and_presences() -> None:
    async with asked(answers(), with_members=False) as rest:
        found = await rest.guild(GUILD)
    assert found is not None
    left_out = {"voice_states", "presences", "members", "threads", "member_count", "large", "joined_at"}
    unknown = {"stage_instances", "guild_scheduled_events", "soundboard_sounds", "embedded_activities"}
    same = {key: value for key, value in CREATE.items() if key not in left_out | unknown}
    assert {key: found[key] for key in same} == same
    assert (found["member_count"], found["large"], found["joined_at"]) == (300, True, "2026-01-02T03:04:05+00:00")
    assert [one["user"]["id"] for one in found["members"]] == [str(OWN_ID)]
    assert GuildRecord(found).guild_id == GUILD


async def test_the_own_membership_of_a_thread_stands_in_the_thread() -> None:
    async with asked(answers()) as rest:
        found = await rest.guild(GUILD)
    assert found is not None
    assert found["threads"] == [{**THREADS[0], "member": OWN_THREAD}, THREADS[1]]


@pytest.mark.parametrize("status", [403, 404])
async def test_a_guild_that_is_not_shown_is_none(status: int) -> None:
    async with asked(answers() | {"": status}) as rest:
        assert await rest.guild(GUILD) is None
        assert not await rest.is_in(GUILD)


async def test_a_server_error_is_neither_a_guild_nor_none() -> None:
    async with asked(answers() | {"": 501}) as rest:
        with pytest.raises(hikari.HTTPResponseError):
            await rest.is_in(GUILD)
        with pytest.raises(hikari.HTTPResponseError):
            await rest.guild(GUILD)


async def test_members_come_page_by_page_up_to_a_bound() -> None:
    def page(after: int) -> list[dict[str, Any]]:
        return [{"user": {"id": str(number)}} for number in range(after + 1, after + 1001)]

    async with asked(answers(_members=page)) as rest:
        found = await rest.guild(GUILD)
    assert found is not None
    assert len({one["user"]["id"] for one in found["members"]}) == MOST_MEMBERS + 1


async def test_without_the_right_to_list_members_the_rest_of_the_guild_comes_all_the_same() -> None:
    async with asked(answers(_members=403)) as rest:
        found = await rest.guild(GUILD)
    assert found is not None
    assert (len(found["members"]), len(found["channels"])) == (1, len(CREATE["channels"]))
