"""Traffic of interactions: commands, components and modals that REST accepts answers to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway_sim.interaction_book import token_of
from gateway_sim.interactions import interaction_payload
from gateway_sim.traffic.template import ID, Draft
from gateway_sim.traffic.text import sentence

if TYPE_CHECKING:
    import random

    from gateway_sim.world import World

_COMMANDS = ("ping", "roll", "ban", "play", "weather")


def slash(world: World, guild_id: int, rng: random.Random) -> Draft:
    """A slash command with options of several types, resolved."""
    user_id = _user(world, guild_id, rng)
    options = [
        {"name": "text", "type": 3, "value": sentence(rng, rng.randrange(1, 80))},
        {"name": "count", "type": 4, "value": rng.randrange(100)},
        {"name": "loud", "type": 5, "value": rng.random() < 0.5},
        {"name": "who", "type": 6, "value": str(user_id)},
        {"name": "where", "type": 7, "value": str(rng.choice(world.text_channel_ids(guild_id)))},
        {"name": "role", "type": 8, "value": str(rng.choice(world.role_ids(guild_id)))},
        {"name": "factor", "type": 10, "value": rng.random()},
    ]
    chosen = rng.sample(options, rng.randrange(len(options)))
    return _draft(world, guild_id, rng, "slash", name=rng.choice(_COMMANDS), options=chosen)


def subcommand(world: World, guild_id: int, rng: random.Random) -> Draft:
    """A slash command with a subcommand, or one within a group."""
    path = rng.choice((["add"], ["list"], ["settings", "set"]))
    return _draft(world, guild_id, rng, "slash", name="config", subcommands=path, options={"key": sentence(rng, 10)})


def autocomplete(world: World, guild_id: int, rng: random.Random) -> Draft:
    """Autocomplete of a text option."""
    options = {"count": rng.randrange(10), "text": sentence(rng, rng.randrange(1, 20))}
    return _draft(world, guild_id, rng, "autocomplete", name=rng.choice(_COMMANDS), options=options)


def user_command(world: World, guild_id: int, rng: random.Random) -> Draft:
    """A user command of the context menu."""
    return _draft(world, guild_id, rng, "user", name="Who is this", target_id=_user(world, guild_id, rng))


def message_command(world: World, guild_id: int, rng: random.Random) -> Draft:
    """A message command of the context menu."""
    return _draft(world, guild_id, rng, "message", name="Quote")


def button(world: World, guild_id: int, rng: random.Random) -> Draft:
    """A press on a button of the bot's message."""
    return _draft(world, guild_id, rng, "button", custom_id=f"button-{rng.randrange(50)}")


def select(world: World, guild_id: int, rng: random.Random) -> Draft:
    """A choice in a select menu, of texts or of users."""
    if rng.random() < 0.5:
        return _draft(world, guild_id, rng, "select", custom_id="choose", values=["a", "b"])
    users = [_user(world, guild_id, rng)]
    return _draft(world, guild_id, rng, "select", custom_id="choose-user", component_type=5, values=users)


def modal_submit(world: World, guild_id: int, rng: random.Random) -> Draft:
    """A modal that was sent off with two fields."""
    fields = {"title": sentence(rng, 20), "body": sentence(rng, rng.randrange(1, 400))}
    return _draft(world, guild_id, rng, "modal_submit", custom_id=f"modal-{rng.randrange(50)}", fields=fields)


def _user(world: World, guild_id: int, rng: random.Random) -> int:
    return rng.choice(world.member_ids(guild_id)[1:])


def _draft(world: World, guild_id: int, rng: random.Random, kind: str, **options: Any) -> Draft:  # noqa: ANN401 - JSON
    user_id = _user(world, guild_id, rng)
    channel_id = rng.choice(world.text_channel_ids(guild_id))
    interaction_type, data = interaction_payload(
        world, kind, guild_id=guild_id, channel_id=channel_id, user_id=user_id, **options
    )
    data |= {"id": ID, "token": token_of(ID)}
    return Draft("INTERACTION_CREATE", guild_id, data, 0, interaction=(interaction_type, channel_id))
