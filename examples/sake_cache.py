"""A cache in Redis that all processes of all groups share: hikari-sake, fed by the group's own dispatches.

Each dispatch reaches one process of the group, and that one writes it to Redis. Needs `pip install hikari-sake` and a
Redis; `REDIS_URL` says where it is. Run it with

    gw-consume --entrypoint sake_cache:setup --entrypoint-dir examples
"""

from __future__ import annotations

import os

import hikari
import sake

from consumers import Bot


class SakeCache(sake.redis.GuildCache, sake.redis.GuildChannelCache, sake.redis.RoleCache):
    """The parts of hikari-sake that this bot uses."""


def setup(bot: Bot) -> None:
    address = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379")
    # Not `app=bot`: hikari-sake 1.1.2 takes any bot for a REST client, and fails when it needs the own user.
    cache = SakeCache(app=bot.rest, event_manager=bot.event_manager, event_managed=True, address=address)

    @bot.listen()
    async def on_message(event: hikari.GuildMessageCreateEvent) -> None:
        if event.content != "!where":
            return
        try:
            guild = await cache.get_guild(event.guild_id)
            channel = await cache.get_guild_channel(event.channel_id)
        except sake.errors.EntryNotFound:
            await event.message.respond("not in the cache")
        else:
            await event.message.respond(f"#{channel.name} of {guild.name}")
