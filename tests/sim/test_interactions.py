"""Every kind of interaction is what hikari reads, with options nested and resolved."""

from __future__ import annotations

from typing import Any
from unittest import mock

import hikari
import orjson
import pytest
from hikari.impl import EntityFactoryImpl

from gateway_sim.interaction_book import InteractionBook, OpenInteraction, Outcome
from gateway_sim.interactions import KINDS, make_interaction
from gateway_sim.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World(bot_token="t", guild_count=5, large_guilds=0)


@pytest.fixture(scope="module")
def factory() -> EntityFactoryImpl:
    return EntityFactoryImpl(mock.Mock(spec=hikari.RESTAware))


def read(factory: EntityFactoryImpl, world: World, kind: str, **options: Any) -> Any:
    return factory.deserialize_interaction(orjson.loads(make_interaction(world, kind, **options).data))


@pytest.mark.parametrize("dm", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_hikari_reads_every_kind_in_guilds_and_direct_messages(
    world: World, factory: EntityFactoryImpl, kind: str, dm: bool
) -> None:
    interaction = read(factory, world, kind, dm=dm)
    assert interaction.application_id == world.application_id
    assert (interaction.guild_id is None) == dm
    assert interaction.context.value == (1 if dm else 0)


def test_the_member_has_the_permissions_that_are_given(world: World, factory: EntityFactoryImpl) -> None:
    given = hikari.Permissions.SEND_MESSAGES | hikari.Permissions.KICK_MEMBERS
    interaction = read(factory, world, "slash", permissions=int(given))
    assert interaction.member.permissions == given
    assert read(factory, world, "slash").member.permissions >= hikari.Permissions.ADMINISTRATOR


def test_permissions_that_are_no_bit_field_are_refused(world: World) -> None:
    with pytest.raises(ValueError, match=r"permissions is a bit field in decimal, .* not 'admin'"):
        make_interaction(world, "slash", permissions="admin")


def test_subcommands_nest_and_options_have_their_types(world: World, factory: EntityFactoryImpl) -> None:
    options = {"text": "a", "count": 3, "loud": True, "factor": 0.5}
    interaction = read(factory, world, "slash", name="config", subcommands=["settings", "set"], options=options)
    (group,) = interaction.options
    (command,) = group.options
    assert (group.name, group.type) == ("settings", hikari.OptionType.SUB_COMMAND_GROUP)
    assert (command.name, command.type) == ("set", hikari.OptionType.SUB_COMMAND)
    assert {option.name: option.value for option in command.options} == options
    assert [option.type.value for option in command.options] == [3, 4, 5, 10]


def test_users_channels_and_roles_are_resolved(world: World, factory: EntityFactoryImpl) -> None:
    guild_id = world.guild_ids[2]
    user, channel, role = world.member_ids(guild_id)[2], world.channel_ids(guild_id)[1], world.role_ids(guild_id)[1]
    options = [
        {"name": "who", "type": 6, "value": user},
        {"name": "where", "type": 7, "value": channel},
        {"name": "role", "type": 8, "value": role},
        {"name": "any", "type": 9, "value": role},
    ]
    interaction = read(factory, world, "slash", guild_id=guild_id, options=options)
    assert interaction.resolved.users.keys() == interaction.resolved.members.keys() == {user}
    assert interaction.resolved.channels.keys() == {channel}
    assert interaction.resolved.roles.keys() == {role}
    assert interaction.member.permissions & hikari.Permissions.ADMINISTRATOR


def test_autocomplete_marks_the_focused_option(world: World, factory: EntityFactoryImpl) -> None:
    interaction = read(factory, world, "autocomplete", options={"a": "x", "b": "y"}, focused="a")
    assert [option.is_focused for option in interaction.options] == [True, False]


def test_context_menus_carry_their_target(world: World, factory: EntityFactoryImpl) -> None:
    user = world.member_ids(world.guild_ids[0])[2]
    assert read(factory, world, "user", name="Who", target_id=user).resolved.users.keys() == {user}
    message = read(factory, world, "message", name="Quote")
    assert message.resolved.messages.keys() == {message.target_id}


def test_a_modal_carries_what_was_typed(world: World, factory: EntityFactoryImpl) -> None:
    interaction = read(factory, world, "modal_submit", custom_id="m", fields={"a": "one", "b": "two"})
    typed = {field.custom_id: field.value for row in interaction.components for field in row}
    assert (interaction.custom_id, typed) == ("m", {"a": "one", "b": "two"})


def test_selects_resolve_what_was_chosen(world: World, factory: EntityFactoryImpl) -> None:
    guild_id = world.guild_ids[0]
    role = world.role_ids(guild_id)[1]
    chosen = read(factory, world, "select", component_type=6, values=[role], guild_id=guild_id)
    assert chosen.resolved.roles.keys() == {role}
    assert read(factory, world, "select", values=["a", "b"]).values == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("nonsense", {}, "there is no interaction kind 'nonsense': use one of autocomplete, button"),
        ("button", {"fields": {}}, "an interaction of kind 'button' has no option fields: use"),
        ("slash", {"guild_id": 5}, "the bot is in no guild 5"),
        ("slash", {"channel_id": 5}, "has no channel 5"),
        ("button", {"message_id": "5"}, "the bot sent no message 5"),
    ],
)
def test_a_wrong_kind_or_option_is_refused_with_a_sentence(
    world: World, kind: str, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_interaction(world, kind, **options)


def test_the_book_forgets_the_oldest_beyond_its_bound() -> None:
    book = InteractionBook(limit=2)
    for name in "abc":
        book.issue(OpenInteraction(name, f"token {name}", 2, 0, 1, 100.0))
    assert book.answer("a", "token a", 4, 101.0) is Outcome.UNKNOWN
    assert book.answer("c", "token c", 4, 101.0) is Outcome.ACCEPTED
