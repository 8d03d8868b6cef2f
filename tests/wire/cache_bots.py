"""A bot that writes down what its cache holds, and the `old_*` fields of its events."""

from __future__ import annotations

from typing import Any

import hikari

from consumers import Bot
from tests.wire.consume_bots import record


def setup(bot: Bot) -> None:
    @bot.listen()
    async def on_started(_: hikari.StartedEvent) -> None:
        record("started", guilds=sorted(int(guild) for guild in bot.cache.get_guilds_view()))

    @bot.listen()
    async def on_message(event: hikari.MessageCreateEvent) -> None:
        word, _, rest = (event.content or "").partition(" ")
        if word == "show":
            record("shown", guild=rest, **shown(bot, int(rest)))

    @bot.listen()
    async def on_channel(event: hikari.GuildChannelUpdateEvent) -> None:
        cached = bot.cache.get_guild_channel(event.channel_id)
        record(
            "channel",
            old=event.old_channel.name if event.old_channel else None,
            new=event.channel.name,
            cached=cached.name if cached else None,
        )

    @bot.listen()
    async def on_guild(event: hikari.GuildUpdateEvent) -> None:
        record("guild", old=event.old_guild.name if event.old_guild else None, new=event.guild.name)

    @bot.listen()
    async def on_member(event: hikari.MemberUpdateEvent) -> None:
        record("member", old=event.old_member.nickname if event.old_member else None, new=event.member.nickname)


def shown(bot: Bot, guild_id: int) -> dict[str, Any]:
    """What the cache holds of a guild."""
    cache, guild = bot.cache, bot.cache.get_guild(guild_id)
    return {
        "name": guild.name if guild else None,
        "available": guild is not None and cache.get_available_guild(guild_id) is not None,
        "channels": sorted(str(one.name) for one in cache.get_guild_channels_view_for_guild(guild_id).values()),
        "roles": sorted(one.name for one in cache.get_roles_view_for_guild(guild_id).values()),
        "members": len(cache.get_members_view_for_guild(guild_id)),
        "in_voice": len(cache.get_voice_states_view_for_guild(guild_id)),
    }
