"""An interaction is answered once, in time, and its webhook then serves the answer and what follows it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import hikari
import pytest
import pytest_asyncio

from gateway_sim.world import World
from tests.sim.rest_client import TOKEN, Rest, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MESSAGE = {"type": 4, "data": {"content": "pong"}}


class Clock:
    """Time that moves only when a test says so."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def rest(clock: Clock) -> AsyncIterator[Rest]:
    async with running(World(bot_token=TOKEN, guild_count=3, large_guilds=0, clock=clock)) as rest:
        yield rest


async def test_a_first_answer_is_taken_and_makes_a_message(rest: Rest) -> None:
    payload = await rest.interact()
    assert await rest.answer(payload, MESSAGE) == (204, None)
    assert rest.sent() == ["MESSAGE_CREATE"]
    assert rest.journal.is_answered_once(payload["id"])
    (answer,) = rest.journal.answers_of(payload["id"])
    assert (answer.type, answer.outcome) == (4, "accepted")


async def test_a_second_answer_is_refused_and_noted(rest: Rest) -> None:
    payload = await rest.interact()
    await rest.answer(payload, MESSAGE)
    status, body = await rest.answer(payload, MESSAGE)
    assert (status, body["code"]) == (400, 40060)
    assert not rest.journal.is_answered_once(payload["id"])
    assert rest.journal.repeated_count == 1
    rows = [json.loads(line) for line in b"".join(rest.journal.answer_log.lines()).splitlines()]
    assert [(row["n"], row["interaction_id"], row["outcome"]) for row in rows] == [
        (1, payload["id"], "accepted"),
        (2, payload["id"], "already_answered"),
    ]
    assert json.loads(b"".join(rest.journal.answer_log.lines(after=1))) == rows[1]


async def test_an_unknown_interaction_is_not_found(rest: Rest) -> None:
    payload = await rest.interact()
    for wrong in ({"token": "nonsense"}, {"id": "123"}):
        assert await rest.answer(payload | wrong, MESSAGE) == (404, {"message": "Unknown interaction", "code": 10062})
    assert not rest.journal.is_answered_once(payload["id"])


async def test_an_answer_after_three_seconds_is_late(rest: Rest, clock: Clock) -> None:
    in_time, late = await rest.interact(), await rest.interact()
    clock.now += 2.9
    assert (await rest.answer(in_time, MESSAGE))[0] == 204
    clock.now += 0.2
    status, body = await rest.answer(late, MESSAGE)
    assert (status, body["code"]) == (404, 10062)
    assert [answer.outcome for answer in rest.journal.answers_of(late["id"])] == ["late"]
    assert rest.journal.late_count == 1


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        ("slash", {4, 5, 9}),
        ("user", {4, 5, 9}),
        ("button", {4, 5, 6, 7, 9}),
        ("select", {4, 5, 6, 7, 9}),
        ("autocomplete", {8}),
        ("modal_submit", {4, 5, 6, 7}),
    ],
)
async def test_each_kind_takes_only_the_answers_that_suit_it(rest: Rest, kind: str, allowed: set[int]) -> None:
    row = {"type": 1, "components": [{"type": 4, "custom_id": "t", "label": "T", "style": 1}]}
    data: dict[str, Any] = {"content": "x", "choices": [], "custom_id": "m", "title": "T", "components": [row]}
    for answer_type in range(1, 14):
        payload = await rest.interact(kind)
        status, body = await rest.answer(payload, {"type": answer_type, "data": data})
        if answer_type in allowed:
            assert status == 204
        else:
            assert (status, body["code"]) == (400, 50035)
            assert not rest.journal.answers_of(payload["id"])


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("slash", {"type": 4, "data": {}}),
        ("slash", {"type": 4, "data": {"content": "x" * 2001}}),
        ("slash", {"type": 9, "data": {"custom_id": "m"}}),
        ("slash", {"type": 4, "data": []}),
        ("autocomplete", {"type": 8, "data": {}}),
        ("autocomplete", {"type": 8, "data": {"choices": [{"name": "x", "value": "y"}] * 26}}),
    ],
)
async def test_a_broken_answer_is_refused_and_a_good_one_still_taken(rest: Rest, kind: str, answer: Any) -> None:
    payload = await rest.interact(kind)
    assert (await rest.answer(payload, answer))[0] == 400
    good = {"type": 8, "data": {"choices": []}} if kind == "autocomplete" else MESSAGE
    assert (await rest.answer(payload, good))[0] == 204


async def test_hikari_answers_edits_and_follows_up(rest: Rest) -> None:
    application = rest.world.application_id
    payload = await rest.interact()
    async with rest.hikari() as client:
        result = await client.create_interaction_response(int(payload["id"]), payload["token"], 4, "pong")
        first = await client.fetch_interaction_response(application, payload["token"])
        assert result.interaction.response_message_id == first.id
        edited = await client.edit_interaction_response(application, payload["token"], "changed")
        assert (edited.id, edited.content) == (first.id, "changed")
        more = await client.execute_webhook(application, payload["token"], "more")
        assert more.id != first.id
        await client.edit_webhook_message(application, payload["token"], more, "even more")
        await client.delete_interaction_response(application, payload["token"])
        with pytest.raises(hikari.NotFoundError):
            await client.fetch_interaction_response(application, payload["token"])
    expected = ["MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_DELETE"]
    assert rest.sent() == expected


async def test_a_deferred_answer_is_filled_later(rest: Rest, clock: Clock) -> None:
    payload = await rest.interact()
    status, result = await rest.answer(payload, {"type": 5}, "?with_response=true")
    assert status == 200
    assert result["interaction"]["response_message_loading"] is True
    clock.now += 60
    place = f"/webhooks/{rest.world.application_id}/{payload['token']}/messages/@original"
    status, message = await rest.call("PATCH", place, token=None, json={"content": "done"})
    assert (status, message["content"], message["flags"]) == (200, "done", 0)


async def test_an_ephemeral_answer_makes_no_event(rest: Rest) -> None:
    payload = await rest.interact()
    await rest.answer(payload, {"type": 4, "data": {"content": "psst", "flags": 64}})
    assert rest.sent() == []


async def test_a_webhook_serves_only_after_the_answer_and_for_a_quarter_of_an_hour(rest: Rest, clock: Clock) -> None:
    payload = await rest.interact()
    place = f"/webhooks/{rest.world.application_id}/{payload['token']}"
    assert (await rest.call("POST", place, token=None, json={"content": "x"}))[1]["code"] == 10015
    await rest.answer(payload, MESSAGE)
    assert (await rest.call("POST", place, token=None, json={"content": "x"}))[0] == 200
    clock.now += 15 * 60 + 1
    assert (await rest.call("POST", place, token=None, json={"content": "x"}))[1]["code"] == 10015


async def test_a_button_on_a_sent_message_can_change_that_message(rest: Rest) -> None:
    world = rest.world
    channel = world.text_channel_ids(world.guild_ids[0])[0]
    row = {"type": 1, "components": [{"type": 2, "style": 1, "label": "x", "custom_id": "b"}]}
    _, message = await rest.call("POST", f"/channels/{channel}/messages", json={"content": "old", "components": [row]})
    payload = await rest.interact("button", custom_id="b", message_id=message["id"])
    assert payload["message"]["content"] == "old"
    await rest.answer(payload, {"type": 7, "data": {"content": "new"}})
    assert (await rest.call("GET", f"/channels/{channel}/messages/{message['id']}"))[1]["content"] == "new"


async def test_no_rate_limit_headers_stand_on_a_callback(rest: Rest) -> None:
    payload = await rest.interact()
    path = f"/api/v10/interactions/{payload['id']}/{payload['token']}/callback"
    async with rest.http.post(path, json=MESSAGE) as response:
        assert response.status == 204
        assert not [name for name in response.headers if name.startswith("X-RateLimit")]


async def test_an_interaction_names_the_registered_command(rest: Rest) -> None:
    world = rest.world
    place = f"/applications/{world.application_id}/commands"
    _, (ping,) = await rest.call("PUT", place, json=[{"name": "ping", "description": "pong"}])
    assert (await rest.interact(name="ping"))["data"]["id"] == ping["id"]
    guild_place = f"/applications/{world.application_id}/guilds/{world.guild_ids[0]}/commands"
    _, (own,) = await rest.call("PUT", guild_place, json=[{"name": "ping", "description": "pong"}])
    data = (await rest.interact(name="ping", guild_id=world.guild_ids[0]))["data"]
    assert (data["id"], data["guild_id"]) == (own["id"], str(world.guild_ids[0]))
