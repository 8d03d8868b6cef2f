"""A stock `hikari.GatewayBot` pointed at the simulator; tells on standard output what it sees."""

from __future__ import annotations

import asyncio
import json
import logging
import sys

import hikari


def tell(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


class TellProblems(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(record.levelname.lower(), text=self.format(record))


async def run(token: str, rest_url: str) -> None:
    bot = hikari.GatewayBot(
        token, rest_url=rest_url, intents=hikari.Intents.ALL, logs=None, banner=None, suppress_optimization_warning=True
    )

    @bot.listen()
    async def on_ready(event: hikari.ShardReadyEvent) -> None:
        tell("ready", shard=event.shard.id)

    @bot.listen()
    async def on_resumed(event: hikari.ShardResumedEvent) -> None:
        tell("resumed", shard=event.shard.id)

    first_guild: asyncio.Future[hikari.GuildAvailableEvent] = asyncio.get_running_loop().create_future()

    @bot.listen()
    async def on_guild(event: hikari.GuildAvailableEvent) -> None:
        tell("guild", id=str(event.guild_id))
        if not first_guild.done():
            first_guild.set_result(event)

    @bot.listen()
    async def on_members(event: hikari.MemberChunkEvent) -> None:
        tell("members", count=len(event.members))

    @bot.listen()
    async def on_message(event: hikari.MessageCreateEvent) -> None:
        tell("message", id=str(event.message_id))

    @bot.listen()
    async def on_interaction(event: hikari.InteractionCreateEvent) -> None:
        tell("interaction", id=str(event.interaction.id))

    await bot.start(check_for_updates=False)
    channels = (await first_guild).channels.values()  # READY, for which start waits, comes before any guild
    channel = next(c for c in channels if isinstance(c, hikari.GuildTextChannel))
    tell("sent", id=str((await bot.rest.create_message(channel, "hello from hikari")).id))
    await asyncio.to_thread(sys.stdin.readline)
    await bot.close()


logging.getLogger().addHandler(TellProblems(logging.WARNING))
asyncio.run(run(*sys.argv[1:3]))
