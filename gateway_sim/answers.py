"""What Discord dispatches in answer to gateway commands (voice, members, soundboard, channel info)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import orjson

from gateway_sim.dispatch import Dispatch
from gateway_sim.opcodes import (
    GUILD_MEMBERS,
    GUILD_PRESENCES,
    GUILD_VOICE_STATES,
    MAX_NONCE_BYTES,
    MEMBERS_PER_CHUNK,
    Opcode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway_sim.json_value import Json
    from gateway_sim.world import World

_VOICE_CHANNEL_TYPES = frozenset({2, 13})


def voice_answers(world: World, guild_id: int, d: dict[str, Any]) -> Iterator[Dispatch]:
    """VOICE_STATE_UPDATE of the bot, and VOICE_SERVER_UPDATE when it joins a channel."""
    channel_id = d.get("channel_id")
    user_id = world.bot_user["id"]
    state = {
        "guild_id": str(guild_id),
        "channel_id": None if channel_id is None else str(channel_id),
        "user_id": user_id,
        "member": world.member(guild_id, int(user_id)),
        "session_id": secrets.token_hex(16),
        "deaf": False,
        "mute": False,
        "self_deaf": bool(d.get("self_deaf")),
        "self_mute": bool(d.get("self_mute")),
        "self_video": False,
        "suppress": False,
        "request_to_speak_timestamp": None,
    }
    yield _dispatch("VOICE_STATE_UPDATE", guild_id, user_id, state, GUILD_VOICE_STATES)
    if channel_id is not None:
        server = {"token": secrets.token_hex(8), "guild_id": str(guild_id), "endpoint": "voice.sim.invalid:443"}
        yield _dispatch("VOICE_SERVER_UPDATE", guild_id, str(guild_id), server)


def asks_all_members(d: dict[str, Any]) -> bool:
    """Whether an op 8 asks for every member of the guild."""
    return not d.get("user_ids") and not d.get("query") and not d.get("limit")


def member_chunks(world: World, guild_id: int, d: dict[str, Json], intents: int) -> Iterator[Dispatch]:
    """GUILD_MEMBERS_CHUNK dispatches in answer to an op 8."""
    members, not_found = _asked_members(world, guild_id, d, intents)
    with_presences = d.get("presences") is True and bool(intents & GUILD_PRESENCES)
    chunks = [members[i : i + MEMBERS_PER_CHUNK] for i in range(0, len(members), MEMBERS_PER_CHUNK)] or [[]]
    nonce = d.get("nonce")
    for index, chunk in enumerate(chunks):
        body: dict[str, Any] = {
            "guild_id": str(guild_id),
            "members": chunk,
            "chunk_index": index,
            "chunk_count": len(chunks),
        }
        if not_found:
            body["not_found"] = not_found
        if with_presences:
            body["presences"] = [world.presence(guild_id, int(member["user"]["id"])) for member in chunk]
        if isinstance(nonce, str) and len(nonce.encode()) <= MAX_NONCE_BYTES:
            body["nonce"] = nonce
        yield _dispatch("GUILD_MEMBERS_CHUNK", guild_id, f"{guild_id}:{index}", body)


def _asked_members(
    world: World, guild_id: int, d: dict[str, Json], intents: int
) -> tuple[list[dict[str, Any]], list[str]]:
    user_ids = d.get("user_ids")
    if user_ids:
        asked = [str(user_id) for user_id in (user_ids if isinstance(user_ids, list) else [user_ids])]
        here = {str(user_id) for user_id in world.member_ids(guild_id)}
        found = [world.member(guild_id, int(user_id)) for user_id in asked if user_id in here]
        return found, [user_id for user_id in asked if user_id not in here]
    members = world.members_of(guild_id)
    if asks_all_members(d):
        if not intents & GUILD_MEMBERS:
            members = [member for member in members if member["user"]["id"] == world.bot_user["id"]]
        return members, []
    query = str(d.get("query") or "").lower()
    hits = [member for member in members if _answers_to(member, query)]
    limit = int(d.get("limit") or 0)
    return hits[: limit or None], []


def _answers_to(member: dict[str, Json], query: str) -> bool:
    names = (member["user"]["username"], member.get("nick") or "")
    return any(name.lower().startswith(query) for name in names)


def rate_limited(guild_id: int, retry_after_s: float, nonce: Json) -> Dispatch:
    """RATE_LIMITED: all members of a guild were asked for twice within 30 s."""
    meta = {"guild_id": str(guild_id)} | ({"nonce": nonce} if isinstance(nonce, str) else {})
    body = {"opcode": int(Opcode.REQUEST_GUILD_MEMBERS), "retry_after": round(retry_after_s, 3), "meta": meta}
    return _dispatch("RATE_LIMITED", guild_id, str(guild_id), body)


def soundboard_sounds(guild_ids: Iterable[int], next_id: Callable[[], str]) -> Iterator[Dispatch]:
    """SOUNDBOARD_SOUNDS, one per guild, in answer to an op 31."""
    for guild_id in guild_ids:
        sound = {
            "sound_id": next_id(),
            "name": "airhorn",
            "volume": 1.0,
            "emoji_id": None,
            "emoji_name": "📣",
            "guild_id": str(guild_id),
            "available": True,
        }
        body = {"guild_id": str(guild_id), "soundboard_sounds": [sound]}
        yield _dispatch("SOUNDBOARD_SOUNDS", guild_id, str(guild_id), body)


def channel_info(world: World, guild_id: int, fields: Iterable[Any], now: float) -> Dispatch:
    """CHANNEL_INFO in answer to an op 43: the asked fields of the guild's voice channels."""
    values = {"status": "simulated", "voice_start_time": int(now)}
    asked = {field: values[field] for field in map(str, fields) if field in values}
    channels = [
        {"id": channel["id"], **asked}
        for channel in world.guild(guild_id)["channels"]
        if channel["type"] in _VOICE_CHANNEL_TYPES
    ]
    return _dispatch("CHANNEL_INFO", guild_id, str(guild_id), {"guild_id": str(guild_id), "channels": channels})


def _dispatch(event_type: str, guild_id: int, entity_id: str, body: dict[str, Json], intents: int = 0) -> Dispatch:
    return Dispatch(event_type, guild_id, entity_id, orjson.dumps(body), intents)
