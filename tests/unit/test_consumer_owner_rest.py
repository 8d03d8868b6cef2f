"""The REST client says what a response makes this process's own, and nothing of responses without components."""

from __future__ import annotations

from typing import Any

import hikari
import pytest
from hikari import impl

from consumers import Bot
from consumers.claims import Claims

INTERACTION = 7


@pytest.fixture
def claimed() -> list[Any]:
    return []


@pytest.fixture
def rest(claimed: list[Any]) -> Any:
    bot = Bot("amqp://127.0.0.1:1/", "a.bot.token", rest_url="http://127.0.0.1:1")
    client: Any = bot.rest
    client.claims = Claims(claimed.extend)
    return client


async def sent(call: Any) -> None:
    """The client was not started: what it is to tell, it tells before."""
    with pytest.raises(hikari.ComponentStateConflictError):
        await call


def row(rest: Any) -> impl.MessageActionRowBuilder:
    return rest.build_message_action_row().add_interactive_button(hikari.ButtonStyle.PRIMARY, "b", label="b")


async def test_a_response_with_components_is_claimed_by_its_interaction(rest: Any, claimed: list[Any]) -> None:
    create = hikari.ResponseType.MESSAGE_CREATE
    await sent(rest.create_interaction_response(INTERACTION, "token", create, "hello", component=row(rest)))
    assert claimed == [INTERACTION]
    await sent(rest.create_interaction_response(INTERACTION, "token", create, components=[row(rest)]))
    assert claimed == [INTERACTION, INTERACTION]


async def test_a_response_without_components_is_nobodys(rest: Any, claimed: list[Any]) -> None:
    await sent(rest.create_interaction_response(INTERACTION, "token", hikari.ResponseType.MESSAGE_CREATE, "hello"))
    assert claimed == []
