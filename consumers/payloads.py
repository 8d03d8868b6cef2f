"""Bodies of gateway commands, as Discord documents them.

https://docs.discord.com/developers/events/gateway-events#send-events
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hikari
from hikari import snowflakes

from eventbus.gateway_payloads import MAX_NONCE_BYTES, MAX_REQUESTED_USERS

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence


def presence(
    *,
    idle_since: hikari.UndefinedNoneOr[datetime.datetime] = hikari.UNDEFINED,
    afk: hikari.UndefinedOr[bool] = hikari.UNDEFINED,
    activity: hikari.UndefinedNoneOr[hikari.Activity] = hikari.UNDEFINED,
    status: hikari.UndefinedOr[hikari.Status] = hikari.UNDEFINED,
) -> dict[str, Any]:
    """Those fields of `d` of op 3 that are given."""
    d: dict[str, Any] = {}
    if idle_since is not hikari.UNDEFINED:
        d["since"] = None if idle_since is None else int(idle_since.timestamp() * 1000)
    if activity is not hikari.UNDEFINED:
        d["activities"] = [] if activity is None else [_activity(activity)]
    if status is not hikari.UNDEFINED:
        # Discord ignores "offline" from a client.
        d["status"] = "invisible" if status == hikari.Status.OFFLINE else str(status)
    if afk is not hikari.UNDEFINED:
        d["afk"] = afk
    return d


def _activity(activity: hikari.Activity) -> dict[str, Any]:
    name, state = activity.name, activity.state
    if activity.type == hikari.ActivityType.CUSTOM and name and not state:
        name, state = "Custom Status", name  # hikari's sugar: the name alone is the custom status
    return {"name": name, "state": state, "type": int(activity.type), "url": activity.url}


def voice_state(
    guild: hikari.SnowflakeishOr[hikari.PartialGuild],
    channel: hikari.SnowflakeishOr[hikari.GuildVoiceChannel] | None,
    *,
    self_mute: hikari.UndefinedOr[bool],
    self_deaf: hikari.UndefinedOr[bool],
) -> dict[str, Any]:
    """`d` of op 4."""
    return {
        "guild_id": _id(guild),
        "channel_id": None if channel is None else _id(channel),
        "self_mute": self_mute is True,
        "self_deaf": self_deaf is True,
    }


def guild_members(
    guild: hikari.SnowflakeishOr[hikari.PartialGuild],
    *,
    include_presences: hikari.UndefinedOr[bool],
    query: str,
    limit: int,
    users: hikari.UndefinedOr[Sequence[hikari.SnowflakeishOr[hikari.User]]],
    nonce: hikari.UndefinedOr[str],
) -> dict[str, Any]:
    """`d` of op 8. Raises ValueError for what Discord would refuse."""
    if users is not hikari.UNDEFINED and (query or limit):
        raise ValueError("give either users or query and limit, not both")
    if not 0 <= limit <= MAX_REQUESTED_USERS:
        raise ValueError(f"limit must be between 0 and {MAX_REQUESTED_USERS}")
    if users is not hikari.UNDEFINED and len(users) > MAX_REQUESTED_USERS:
        raise ValueError(f"at most {MAX_REQUESTED_USERS} users can be asked for at once")
    if nonce is not hikari.UNDEFINED and len(nonce.encode()) > MAX_NONCE_BYTES:
        raise ValueError(f"nonce can have at most {MAX_NONCE_BYTES} bytes")
    d: dict[str, Any] = {"guild_id": _id(guild)}
    if users is hikari.UNDEFINED:
        d |= {"query": query, "limit": limit}
    else:
        d["user_ids"] = [_id(user) for user in users]
    if include_presences is not hikari.UNDEFINED:
        d["presences"] = include_presences
    if nonce is not hikari.UNDEFINED:
        d["nonce"] = nonce
    return d


def channel_info(guild: hikari.SnowflakeishOr[hikari.PartialGuild], fields: Sequence[object]) -> dict[str, Any]:
    """`d` of op 43."""
    return {"guild_id": _id(guild), "fields": [str(field) for field in fields]}


def soundboard_sounds(guilds: Sequence[hikari.SnowflakeishOr[hikari.PartialGuild]]) -> dict[str, Any]:
    """`d` of op 31."""
    return {"guild_ids": [_id(guild) for guild in guilds]}


def _id(entity: snowflakes.SnowflakeishOr[Any]) -> str:
    return str(int(entity))
