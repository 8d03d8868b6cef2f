"""Whatever a client sends as a body, REST refuses it in Discord's form or takes it: no handler fails."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_sim.interactions import KINDS as INTERACTION_KINDS
from gateway_sim.interactions import make_interaction
from gateway_sim.rest import RestJournal
from gateway_sim.rest.api import ROUTES
from gateway_sim.rest.call import Backend, Call
from gateway_sim.rest.errors import DiscordError
from gateway_sim.rest.router import Router
from gateway_sim.world import World
from tests.sim.rest_client import LIMIT, TOKEN

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("content", "embeds", "components", "flags", "type", "custom_id", "fields", "name", "options"),
                    *("description", "data", "choices", "title", "message_reference", "message_id", "nick", "roles"),
                    *("messages", "recipient_id", "label", "accessory", "nonce", "attachments", "username"),
                ]
            ),
            children,
            max_size=4,
        )
    ),
    max_leaves=8,
)


MESSAGE_LIKE = st.fixed_dictionaries(
    {},
    optional={
        "content": JSON,
        "flags": st.integers(-(2**63), 2**63) | JSON,
        "embeds": JSON | st.lists(st.dictionaries(st.sampled_from(["title", "fields", "type"]), JSON), max_size=2),
        "components": JSON
        | st.lists(
            st.fixed_dictionaries(
                {"type": st.integers(0, 3)}, optional={"components": JSON, "id": JSON, "accessory": JSON}
            ),
            max_size=2,
        ),
        "message_reference": JSON | st.fixed_dictionaries({"message_id": JSON | st.just("123")}),
        "attachments": JSON,
        "nonce": JSON,
        "tts": JSON,
        "choices": JSON,
        "custom_id": JSON,
        "title": JSON,
    },
)
COMMAND_LIKE = st.fixed_dictionaries(
    {"name": st.sampled_from(["ping", "pong"]), "description": st.just("d")},
    optional={
        "type": JSON,
        "options": JSON
        | st.lists(
            st.fixed_dictionaries(
                {"name": st.just("x"), "description": st.just("d"), "type": st.integers(1, 4)},
                optional={"options": JSON, "choices": JSON, "required": JSON},
            ),
            max_size=3,
        ),
    },
)


class Handlers:
    """The routes without HTTP: a fuzzer needs no socket."""

    def __init__(self) -> None:
        self.world = World(bot_token=TOKEN, guild_count=2, large_guilds=0)
        self.backend = Backend(self.world, RestJournal(), lambda _: None, lambda: "", lambda: LIMIT, lambda: 1)
        self.router = Router(ROUTES)

    def status(self, method: str, path: str, body: Any) -> int:
        match = self.router.match(method, path)
        try:
            return match.route.handler(Call(self.backend, match.params, {}, body)).status
        except DiscordError as error:
            return error.status


HANDLERS = Handlers()


@given(body=JSON | MESSAGE_LIKE | COMMAND_LIKE | st.lists(COMMAND_LIKE, max_size=2), which=st.integers(0, 6))
@settings(max_examples=300, deadline=None)
def test_no_body_whatever_makes_a_handler_fail(body: Any, which: int) -> None:
    world = HANDLERS.world
    channel = world.text_channel_ids(world.guild_ids[1])[0]
    commands = f"/applications/{world.application_id}/commands"
    method, path = (
        ("POST", f"/channels/{channel}/messages"),
        ("POST", f"/channels/{channel}/messages/bulk-delete"),
        ("PUT", commands),
        ("POST", commands),
        ("PATCH", f"/guilds/{world.guild_ids[1]}/members/@me"),
        ("POST", "/users/@me/channels"),
        ("PATCH", "/users/@me"),
    )[which]
    assert HANDLERS.status(method, path, body) in {200, 201, 204, 400, 404}


@given(
    data=JSON | MESSAGE_LIKE,
    kind=st.sampled_from(INTERACTION_KINDS),
    answer_type=st.sampled_from([*range(13), None, "4", [], {}]),
)
@settings(max_examples=300, deadline=None)
def test_no_answer_whatever_makes_a_handler_fail(data: Any, kind: str, answer_type: Any) -> None:
    payload = orjson.loads(make_interaction(HANDLERS.world, kind).data)
    path = f"/interactions/{payload['id']}/{payload['token']}/callback"
    assert HANDLERS.status("POST", path, {"type": answer_type, "data": data}) in {200, 204, 400}
