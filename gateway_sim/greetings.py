"""READY, RESUMED and the guilds that follow READY."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from gateway_sim.dispatch import Dispatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway_sim.world import World

_TRACE = ['["gateway-sim",{"micros":0}]']


def ready(world: World, session_id: str, shard: tuple[int, int], resume_url: str, *, shard_given: bool) -> Dispatch:
    """READY, the first dispatch of a session; its guilds are unavailable until their GUILD_CREATE."""
    body = {
        "v": 10,
        "user_settings": {},
        "user": {**world.bot_user, "verified": True, "mfa_enabled": True, "email": None, "flags": 0},
        "session_type": "normal",
        "session_id": session_id,
        "resume_gateway_url": resume_url,
        "relationships": [],
        "private_channels": [],
        "presences": [],
        "guilds": [{"unavailable": True, "id": str(guild)} for guild in world.guilds_of_shard(*shard)],
        "guild_join_requests": [],
        "geo_ordered_rtc_regions": ["rotterdam", "milan"],
        "auth": {},
        "application": {"id": world.application["id"], "flags": world.application.get("flags", 0)},
        "_trace": _TRACE,
    }
    if shard_given:
        body["shard"] = list(shard)
    return Dispatch("READY", 0, session_id, orjson.dumps(body))


def resumed(session_id: str) -> Dispatch:
    """RESUMED, the dispatch that ends a replay."""
    return Dispatch("RESUMED", 0, session_id, orjson.dumps({"_trace": _TRACE}))


def guild_storm(world: World, shard: tuple[int, int], intents: int) -> Iterator[Dispatch]:
    """GUILD_CREATE of each guild of the shard, rendered one by one."""
    return (world.guild_create(guild_id, intents) for guild_id in world.guilds_of_shard(*shard))
