"""The kinds of traffic by name, and the named mixes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway_sim.traffic import guild_kinds, interaction_kinds, member_kinds, message_kinds

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

    from gateway_sim.traffic.template import Draft
    from gateway_sim.world import World

KINDS: Mapping[str, Callable[[World, int, random.Random], Draft]] = {
    "message": message_kinds.message,
    "message_update": message_kinds.message_update,
    "message_delete": message_kinds.message_delete,
    "message_bulk_delete": message_kinds.message_bulk_delete,
    "reaction_add": message_kinds.reaction_add,
    "reaction_remove": message_kinds.reaction_remove,
    "typing": message_kinds.typing_start,
    "dm": message_kinds.direct_message,
    "presence": member_kinds.presence,
    "member_add": member_kinds.member_add,
    "member_update": member_kinds.member_update,
    "member_remove": member_kinds.member_remove,
    "ban_add": member_kinds.ban_add,
    "ban_remove": member_kinds.ban_remove,
    "voice": member_kinds.voice_state,
    "guild": guild_kinds.guild_create,
    "guild_update": guild_kinds.guild_update,
    "channel_create": guild_kinds.channel_create,
    "channel_update": guild_kinds.channel_update,
    "channel_delete": guild_kinds.channel_delete,
    "thread_create": guild_kinds.thread_create,
    "role_create": guild_kinds.role_create,
    "role_update": guild_kinds.role_update,
    "role_delete": guild_kinds.role_delete,
    "emojis_update": guild_kinds.emojis_update,
    "invite_create": guild_kinds.invite_create,
    "slash": interaction_kinds.slash,
    "subcommand": interaction_kinds.subcommand,
    "autocomplete": interaction_kinds.autocomplete,
    "user_command": interaction_kinds.user_command,
    "message_command": interaction_kinds.message_command,
    "button": interaction_kinds.button,
    "select": interaction_kinds.select,
    "modal_submit": interaction_kinds.modal_submit,
}
"""`dm` belongs to no guild, so Discord sends it on shard 0 only: no named mix holds it."""

INTERACTIONS = {
    "slash": 4.0,
    "subcommand": 2.0,
    "autocomplete": 3.0,
    "user_command": 1.0,
    "message_command": 1.0,
    "button": 4.0,
    "select": 2.0,
    "modal_submit": 1.0,
}

MIXES: Mapping[str, Mapping[str, float]] = {
    "mixed": {
        "message": 300.0,
        "presence": 330.0,
        "typing": 120.0,
        "message_update": 30.0,
        "message_delete": 15.0,
        "message_bulk_delete": 1.0,
        "reaction_add": 40.0,
        "reaction_remove": 8.0,
        "member_add": 15.0,
        "member_update": 30.0,
        "member_remove": 12.0,
        "ban_add": 2.0,
        "ban_remove": 1.0,
        "voice": 40.0,
        "guild_update": 4.0,
        "channel_create": 3.0,
        "channel_update": 5.0,
        "channel_delete": 3.0,
        "thread_create": 3.0,
        "role_create": 3.0,
        "role_update": 4.0,
        "role_delete": 3.0,
        "emojis_update": 2.0,
        "invite_create": 4.0,
        **INTERACTIONS,
    },
    "messages": {"message": 1.0},
    "presences": {"presence": 1.0},
    "guilds": {"guild": 1.0},
    "interactions": INTERACTIONS,
}
