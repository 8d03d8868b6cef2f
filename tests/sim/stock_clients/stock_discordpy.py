"""A stock discord.py client, pointed at the simulator by its module constants; tells what it sees."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import traceback
from typing import Any

import discord
import yarl


def tell(event: str, **fields: object) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


class TellProblems(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(record.levelname.lower(), text=self.format(record))


class Client(discord.AutoShardedClient):
    sent = False

    async def on_shard_connect(self, shard_id: int) -> None:
        tell("ready", shard=shard_id)

    async def on_shard_resumed(self, shard_id: int) -> None:
        tell("resumed", shard=shard_id)

    async def on_guild_available(self, guild: discord.Guild) -> None:
        tell("guild", id=str(guild.id))

    async def on_ready(self) -> None:
        for guild in self.guilds:
            tell("guild", id=str(guild.id))
            tell("members", count=len(guild.members))
        if not self.sent:
            self.sent = True
            tell("sent", id=str((await self.guilds[0].text_channels[0].send("hello from discord.py")).id))

    async def on_message(self, message: discord.Message) -> None:
        tell("message", id=str(message.id))

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        tell("interaction", id=str(interaction.id))

    async def on_error(self, event_method: str, /, *_args: Any, **_kwargs: Any) -> None:
        tell("error", text=f"{event_method}: {traceback.format_exc()}")


async def run(token: str, rest_url: str, gateway_url: str) -> None:
    discord.http.Route.BASE = rest_url
    discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
    async with Client(intents=discord.Intents.all()) as client:
        session = asyncio.create_task(client.start(token))
        await asyncio.to_thread(sys.stdin.readline)
        await client.close()
        await session


logging.getLogger().addHandler(TellProblems(logging.WARNING))
asyncio.run(run(*sys.argv[1:4]))
