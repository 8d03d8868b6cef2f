"""Traffic about guilds: themselves, channels, threads, roles, emojis, invites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway_sim.guild_payloads import GATEWAY_ONLY
from gateway_sim.traffic.template import ID, TIMESTAMP, Draft
from gateway_sim.traffic.text import sentence

if TYPE_CHECKING:
    import random

    from gateway_sim.world import World

_GUILDS, _EXPRESSIONS, _INVITES = 1 << 0, 1 << 3, 1 << 6


def guild_create(world: World, guild_id: int, _rng: random.Random) -> Draft:
    """GUILD_CREATE as after READY (up to 500 KB); the description carries the fresh id."""
    data = world.guild(guild_id) | {"description": f"seen {ID}"}
    return Draft("GUILD_CREATE", guild_id, data, _GUILDS, str(guild_id))


def guild_update(world: World, guild_id: int, _rng: random.Random) -> Draft:
    """GUILD_UPDATE: a new description."""
    data = {key: value for key, value in world.guild(guild_id).items() if key not in GATEWAY_ONLY}
    data["description"] = f"changed {ID}"
    return Draft("GUILD_UPDATE", guild_id, data, _GUILDS, str(guild_id))


def channel_create(world: World, guild_id: int, rng: random.Random) -> Draft:
    """CHANNEL_CREATE of a text channel."""
    data = _channel(world, guild_id, rng) | {"id": ID, "name": f"new-{ID}", "last_message_id": None}
    return Draft("CHANNEL_CREATE", guild_id, data, _GUILDS)


def channel_update(world: World, guild_id: int, rng: random.Random) -> Draft:
    """CHANNEL_UPDATE: a new topic."""
    data = _channel(world, guild_id, rng)
    data["topic"] = f"{sentence(rng, 40)} {ID}"
    return Draft("CHANNEL_UPDATE", guild_id, data, _GUILDS, data["id"])


def channel_delete(world: World, guild_id: int, rng: random.Random) -> Draft:
    """CHANNEL_DELETE of a channel that nothing else names."""
    data = _channel(world, guild_id, rng) | {"id": ID, "name": f"old-{ID}"}
    return Draft("CHANNEL_DELETE", guild_id, data, _GUILDS)


def thread_create(world: World, guild_id: int, rng: random.Random) -> Draft:
    """THREAD_CREATE of a public thread."""
    data = {
        "id": ID,
        "type": 11,
        "guild_id": str(guild_id),
        "name": sentence(rng, 20)[:90],
        "parent_id": str(rng.choice(world.text_channel_ids(guild_id))),
        "owner_id": str(rng.choice(world.member_ids(guild_id)[1:])),
        "last_message_id": None,
        "message_count": 0,
        "total_message_sent": 0,
        "member_count": 1,
        "rate_limit_per_user": 0,
        "flags": 0,
        "newly_created": True,
        "thread_metadata": {
            "archived": False,
            "auto_archive_duration": 1440,
            "archive_timestamp": TIMESTAMP,
            "create_timestamp": TIMESTAMP,
            "locked": False,
        },
    }
    return Draft("THREAD_CREATE", guild_id, data, _GUILDS)


def role_create(world: World, guild_id: int, _rng: random.Random) -> Draft:
    """GUILD_ROLE_CREATE."""
    role = world.role(guild_id, world.role_ids(guild_id)[1]) | {"id": ID, "name": f"role {ID}"}
    return Draft("GUILD_ROLE_CREATE", guild_id, {"guild_id": str(guild_id), "role": role}, _GUILDS)


def role_update(world: World, guild_id: int, rng: random.Random) -> Draft:
    """GUILD_ROLE_UPDATE: a new name."""
    role = world.role(guild_id, rng.choice(world.role_ids(guild_id)[1:])) | {"name": f"role {ID}"}
    return Draft("GUILD_ROLE_UPDATE", guild_id, {"guild_id": str(guild_id), "role": role}, _GUILDS, role["id"])


def role_delete(_world: World, guild_id: int, _rng: random.Random) -> Draft:
    """GUILD_ROLE_DELETE of a role that nothing else names."""
    return Draft("GUILD_ROLE_DELETE", guild_id, {"guild_id": str(guild_id), "role_id": ID}, _GUILDS)


def emojis_update(world: World, guild_id: int, rng: random.Random) -> Draft:
    """GUILD_EMOJIS_UPDATE: one more."""
    emojis = [world.emoji(emoji) for emoji in world.emoji_ids(guild_id)]
    state = {"managed": False, "animated": rng.random() < 0.5, "available": True, "require_colons": True}
    data = {"guild_id": str(guild_id), "emojis": [*emojis, {"id": ID, "name": "fresh", "roles": [], **state}]}
    return Draft("GUILD_EMOJIS_UPDATE", guild_id, data, _EXPRESSIONS, str(guild_id))


def invite_create(world: World, guild_id: int, rng: random.Random) -> Draft:
    """INVITE_CREATE."""
    data = {
        "channel_id": str(rng.choice(world.text_channel_ids(guild_id))),
        "code": f"c{ID}",
        "created_at": TIMESTAMP,
        "guild_id": str(guild_id),
        "inviter": world.user(rng.choice(world.member_ids(guild_id)[1:])),
        "max_age": 86400,
        "max_uses": 0,
        "temporary": False,
        "type": 0,
        "uses": 0,
        "expires_at": None,
    }
    return Draft("INVITE_CREATE", guild_id, data, _INVITES)


def _channel(world: World, guild_id: int, rng: random.Random) -> dict[str, Any]:
    channel_id = rng.choice(world.text_channel_ids(guild_id))
    return world.channel(guild_id, channel_id) | {"guild_id": str(guild_id)}
