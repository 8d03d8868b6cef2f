"""Guilds, channels, roles and emojis of the universe as Discord writes them in JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

    from gateway_sim.world import World

JsonObject = dict[str, Any]

NAMES = tuple(
    name
    for line in (
        "ada bela cyra dorn elio fenn gala hugo iris juno kian lena milo nora odin pera quin rosa sami tara ugo vera",
        "wim xena yuri zoe amber birch cedar delta ember fable grove haven ivory jade koi lotus maple nova",
    )
    for name in line.split()
)
TOPICS = ("general", "help", "memes", "dev", "music", "art", "games", "news", "random", "logs", "bots", "café ☕")
VOICE_SLOT = 3
"""Every fourth channel of a guild, beginning with this one, is a voice channel; the first is a category."""

GATEWAY_ONLY = frozenset(
    {
        *("joined_at", "large", "unavailable", "member_count", "voice_states", "members", "channels", "threads"),
        *("presences", "stage_instances", "guild_scheduled_events", "soundboard_sounds", "embedded_activities"),
    }
)
"""The fields that GUILD_CREATE has and neither GUILD_UPDATE nor REST."""

_SHOWN_MEMBERS = 780  # of a large guild in its GUILD_CREATE
_LARGE_FROM = 250
_FEATURES = ("COMMUNITY", "NEWS", "ANIMATED_ICON", "INVITE_SPLASH", "ROLE_ICONS", "TEXT_IN_VOICE_ENABLED")
_LOCALES = ("en-US", "de", "fr", "ja", "pt-BR")
_LAST_MESSAGE_MS = 175_000_000_000  # when the last messages of the channels were sent, after the Discord epoch


def stamp(rng: random.Random) -> str:
    """Some moment of the years 2021 to 2025, in ISO 8601."""
    day = f"202{rng.randrange(1, 6)}-0{rng.randrange(1, 10)}-1{rng.randrange(10)}"
    return f"{day}T12:34:56.{rng.randrange(10**6):06}+00:00"


def hex_hash(rng: random.Random) -> str:
    """32 hexadecimal digits, as of an avatar."""
    return f"{rng.getrandbits(128):032x}"


def channel_type(slot: int) -> int:
    """Discord's type of the channel at that position: 4 category, 2 voice, 0 text."""
    if slot == 0:
        return 4
    return 2 if slot % 4 == VOICE_SLOT else 0


def guild(world: World, guild_id: int) -> JsonObject:
    """The guild as GUILD_CREATE shows it: https://discord.com/developers/docs/events/gateway-events#guild-create"""
    members = world.member_ids(guild_id)
    shown = members[:_SHOWN_MEMBERS]
    return {
        **_fields(world, guild_id),
        "joined_at": stamp(world.rng("joined", guild_id)),
        "large": len(members) > _LARGE_FROM,
        "unavailable": False,
        "member_count": len(members),
        "voice_states": [_voice_state(world, guild_id, user) for user in shown[1:3]],
        "members": [world.member(guild_id, user) for user in shown],
        "channels": [world.channel(guild_id, channel) for channel in world.channel_ids(guild_id)],
        "threads": [],
        "presences": [world.presence(guild_id, user) for i, user in enumerate(shown) if i % 3],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
        "embedded_activities": [],
    }


def role(world: World, guild_id: int, role_id: int) -> JsonObject:
    """The role object."""
    rng = world.rng("role", role_id)
    everyone = role_id == guild_id
    color = 0 if everyone else rng.randrange(1 << 24)
    return {
        "id": str(role_id),
        "name": "@everyone" if everyone else f"{rng.choice(NAMES)} {rng.choice(TOPICS)}",
        "description": None,
        "permissions": "2248473465835073" if everyone else str(rng.getrandbits(40)),
        "position": world.role_ids(guild_id).index(role_id),
        "color": color,
        "colors": {"primary_color": color, "secondary_color": None, "tertiary_color": None},
        "hoist": rng.random() < 0.3,
        "managed": False,
        "mentionable": rng.random() < 0.5,
        "icon": None,
        "unicode_emoji": None,
        "flags": 0,
    }


def channel(world: World, guild_id: int, channel_id: int) -> JsonObject:
    """The guild channel object, without `guild_id`."""
    channels = world.channel_ids(guild_id)
    slot = channels.index(channel_id)
    rng = world.rng("channel", channel_id)
    kind = channel_type(slot)
    found: JsonObject = {
        "id": str(channel_id),
        "type": kind,
        "name": f"{rng.choice(TOPICS)}-{slot}",
        "position": slot,
        "flags": 0,
        "parent_id": None if slot == 0 else str(channels[0]),
        "permission_overwrites": [{"id": str(guild_id), "type": 0, "allow": "0", "deny": str(rng.getrandbits(12))}],
    }
    if kind == 0:
        found |= {"topic": f"About {rng.choice(TOPICS)}", "nsfw": False, "rate_limit_per_user": 0}
        found |= {"last_message_id": str((_LAST_MESSAGE_MS << 22) + channel_id % 9999)}
    if kind == 2:
        found |= {"bitrate": 64000, "user_limit": 0, "rtc_region": None, "nsfw": False}
        found |= {"rate_limit_per_user": 0, "last_message_id": None}
    return found


def emoji(world: World, emoji_id: int) -> JsonObject:
    """The custom emoji object."""
    name = f"{world.rng('emoji', emoji_id).choice(NAMES)}{emoji_id % 97}"
    state = {"managed": False, "animated": emoji_id % 2 == 0, "available": True}
    return {"id": str(emoji_id), "name": name, "roles": [], "require_colons": True, **state}


def _fields(world: World, guild_id: int) -> JsonObject:
    rng = world.rng("guild", guild_id)
    channels = world.channel_ids(guild_id)
    return {
        "id": str(guild_id),
        "name": f"The {rng.choice(NAMES).title()} {rng.choice(TOPICS).title()}",
        "icon": hex_hash(rng),
        "description": None,
        "splash": None,
        "discovery_splash": None,
        "banner": None,
        "owner_id": str(world.member_ids(guild_id)[1]),
        "application_id": None,
        "region": "deprecated",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "system_channel_id": str(channels[1]),
        "system_channel_flags": 0,
        "widget_enabled": False,
        "widget_channel_id": None,
        "verification_level": rng.randrange(4),
        "default_message_notifications": rng.randrange(2),
        "explicit_content_filter": rng.randrange(3),
        "mfa_level": 0,
        "nsfw": False,
        "nsfw_level": 0,
        "premium_tier": rng.randrange(4),
        "premium_subscription_count": rng.randrange(30),
        "premium_progress_bar_enabled": False,
        "preferred_locale": rng.choice(_LOCALES),
        "rules_channel_id": str(channels[1]),
        "safety_alerts_channel_id": None,
        "public_updates_channel_id": str(channels[2]),
        "hub_type": None,
        "vanity_url_code": None,
        "max_members": 500000,
        "max_stage_video_channel_users": 50,
        "max_video_channel_users": 25,
        "features": rng.sample(_FEATURES, rng.randrange(len(_FEATURES))),
        "incidents_data": None,
        "roles": [world.role(guild_id, role_id) for role_id in world.role_ids(guild_id)],
        "emojis": [world.emoji(emoji_id) for emoji_id in world.emoji_ids(guild_id)],
        "stickers": [],
    }


def _voice_state(world: World, guild_id: int, user_id: int) -> JsonObject:
    return {
        "channel_id": str(world.voice_channel_id(guild_id)),
        "user_id": str(user_id),
        "session_id": hex_hash(world.rng("voice", guild_id, user_id)),
        **dict.fromkeys(("deaf", "mute", "self_deaf", "self_mute", "self_video", "suppress"), False),
        "request_to_speak_timestamp": None,
    }
