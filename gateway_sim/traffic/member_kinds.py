"""Traffic about people: presences, members, bans, voice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway_sim.traffic.template import ID, TIMESTAMP, Draft
from gateway_sim.traffic.text import sentence

if TYPE_CHECKING:
    import random

    from gateway_sim.world import World

_MEMBERS, _MODERATION, _VOICE, _PRESENCES = 1 << 1, 1 << 2, 1 << 7, 1 << 8
_STATUSES = ("online", "idle", "dnd")
_GAMES = ("Chess", "Factorio", "Go", "Nethack", "Tetris")


def presence(world: World, guild_id: int, rng: random.Random) -> Draft:
    """PRESENCE_UPDATE of about 280 bytes: a custom status whose text carries the fresh id."""
    user_id = _user(world, guild_id, rng)
    status = rng.choice(_STATUSES)
    activity = {
        "name": rng.choice(_GAMES),
        "type": rng.choice((0, 2, 3)),
        "state": f"{rng.choice(_GAMES)} {ID}",
        "id": f"{rng.getrandbits(60):015x}",
        "created_at": 1_700_000_000_000 + rng.randrange(10**10),
    }
    data = {
        "user": {"id": str(user_id)},
        "status": status,
        "guild_id": str(guild_id),
        "client_status": {rng.choice(("desktop", "mobile", "web")): status},
        "broadcast": None,
        "activities": [activity],
    }
    return Draft("PRESENCE_UPDATE", guild_id, data, _PRESENCES, str(user_id))


def member_add(world: World, guild_id: int, rng: random.Random) -> Draft:
    """GUILD_MEMBER_ADD of somebody new."""
    data = world.member(guild_id, _user(world, guild_id, rng))
    data["user"] = _newcomer(data["user"])
    data |= {"guild_id": str(guild_id), "joined_at": TIMESTAMP, "roles": [], "nick": None}
    return Draft("GUILD_MEMBER_ADD", guild_id, data, _MEMBERS)


def member_update(world: World, guild_id: int, rng: random.Random) -> Draft:
    """GUILD_MEMBER_UPDATE: a new nickname."""
    user_id = _user(world, guild_id, rng)
    data = world.member(guild_id, user_id) | {"guild_id": str(guild_id), "nick": f"{sentence(rng, 3)[:8]} {ID}"}
    return Draft("GUILD_MEMBER_UPDATE", guild_id, data, _MEMBERS, str(user_id))


def member_remove(world: World, guild_id: int, rng: random.Random) -> Draft:
    """GUILD_MEMBER_REMOVE of somebody of whom nothing else is known."""
    data = {"guild_id": str(guild_id), "user": _newcomer(world.user(_user(world, guild_id, rng)))}
    return Draft("GUILD_MEMBER_REMOVE", guild_id, data, _MEMBERS)


def ban_add(world: World, guild_id: int, rng: random.Random) -> Draft:
    """GUILD_BAN_ADD."""
    data = {"guild_id": str(guild_id), "user": _newcomer(world.user(_user(world, guild_id, rng)))}
    return Draft("GUILD_BAN_ADD", guild_id, data, _MODERATION)


def ban_remove(world: World, guild_id: int, rng: random.Random) -> Draft:
    """GUILD_BAN_REMOVE."""
    data = {"guild_id": str(guild_id), "user": _newcomer(world.user(_user(world, guild_id, rng)))}
    return Draft("GUILD_BAN_REMOVE", guild_id, data, _MODERATION)


def voice_state(world: World, guild_id: int, rng: random.Random) -> Draft:
    """VOICE_STATE_UPDATE: joins or leaves the voice channel; the session id carries the fresh id."""
    user_id = _user(world, guild_id, rng)
    flags = ("deaf", "mute", "self_deaf", "self_mute", "self_video", "suppress")
    data = {
        "guild_id": str(guild_id),
        "channel_id": str(world.voice_channel_id(guild_id)) if rng.random() < 0.7 else None,
        "user_id": str(user_id),
        "session_id": f"{rng.getrandbits(48):012x}{ID}",
        "request_to_speak_timestamp": None,
        "member": world.member(guild_id, user_id),
        **{flag: rng.random() < 0.2 for flag in flags},
    }
    return Draft("VOICE_STATE_UPDATE", guild_id, data, _VOICE, str(user_id))


def _user(world: World, guild_id: int, rng: random.Random) -> int:
    return rng.choice(world.member_ids(guild_id)[1:])


def _newcomer(user: dict[str, Any]) -> dict[str, Any]:
    return user | {"id": ID, "username": f"u{ID}"}
