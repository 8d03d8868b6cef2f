"""A bot that does what the content of a message says, and writes down all that happens to it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import hikari
from hikari.api import ChannelInfoField

from consumers import Bot, current_dispatch
from eventbus.errors import RelayError

BIG = "x" * 5000


def record(what: str, **fields: Any) -> None:
    line = json.dumps({"what": what, "pid": os.getpid(), "at": time.time(), **fields}) + "\n"
    with Path(os.environ["RECORD_FILE"]).open("a") as file:
        file.write(line)


async def hold() -> None:
    """Until the test lets go."""
    while not Path(os.environ["RECORD_FILE"] + ".go").exists():  # noqa: ASYNC110, ASYNC240 - the test is elsewhere
        await asyncio.sleep(0.02)


def setup(bot: Bot) -> None:
    for event in (hikari.StartingEvent, hikari.StartedEvent, hikari.StoppingEvent, hikari.StoppedEvent):
        bot.subscribe(event, on_lifetime)
    bot.subscribe(hikari.ExceptionEvent, on_failure)
    bot.subscribe(hikari.InteractionCreateEvent, on_interaction)

    @bot.listen()
    async def on_message(event: hikari.MessageCreateEvent) -> None:
        dispatch = current_dispatch()
        assert dispatch is not None
        content = event.content or ""
        record("message", content=content, id=str(event.message_id), redelivered=dispatch.redelivered,
               seq=dispatch.seq, shard=dispatch.shard, session=dispatch.session_id, replayed=dispatch.replayed,
               token=dispatch.fencing_token, received_at=dispatch.received_at, shard_id=event.shard.id,
               attempt=dispatch.attempt)  # fmt: skip
        await obey(bot, content.split(" ")[0])
        record("end", content=content)


def deaf(bot: Bot) -> None:
    """Its listeners are elsewhere."""


async def starts(bot: Bot) -> None:
    await bot.start()


async def on_lifetime(event: hikari.Event) -> None:
    assert isinstance(event.app, Bot)
    me = event.app.get_me()
    told = {"me": me.username if me else None, "shards": event.app.shard_count}
    record(type(event).__name__, **told, supervised="GW_SUPERVISED" in os.environ)


async def on_failure(event: hikari.ExceptionEvent[Any]) -> None:
    record("exception", error=repr(event.exception))


async def on_interaction(event: hikari.InteractionCreateEvent) -> None:
    record("interaction", id=str(event.interaction.id))
    interaction = event.interaction
    if isinstance(interaction, hikari.ComponentInteraction) and interaction.custom_id == "fail":
        raise ValueError("as told")


async def on_typing(event: hikari.TypingEvent) -> None:
    record("typing", channel=str(event.channel_id))


async def obey(bot: Bot, word: str) -> None:
    match word:
        case "fail":
            raise ValueError("as told")
        case "flaky" if (dispatch := current_dispatch()) is not None and dispatch.attempt < 3:
            raise ValueError("not yet")
        case "hold":
            await hold()
        case "nap":
            await asyncio.sleep(0.1)
        case "crash":
            os._exit(9)
        case "close":
            await bot.close()
        case "subscribe" if not bot.get_listeners(hikari.TypingEvent):
            bot.subscribe(hikari.TypingEvent, on_typing)
        case "unsubscribe":
            bot.unsubscribe(hikari.TypingEvent, on_typing)
        case "presence" | "everywhere" | "voice" | "members" | "channels" | "sounds" | "big" | "long" | "look":
            await command(bot, word)


async def command(bot: Bot, word: str) -> None:
    guild = hikari.Snowflake(5 << 22)  # shard 1 of 2
    calls = {
        "presence": lambda: bot.shards[0].update_presence(status=hikari.Status.IDLE),
        "everywhere": lambda: bot.update_presence(activity=hikari.Activity(name="chess")),
        "voice": lambda: bot.update_voice_state(guild, 77, self_deaf=True),
        "members": lambda: bot.request_guild_members(guild, query="a", limit=3, nonce="n"),
        "channels": lambda: bot.request_channel_info(guild, fields=[ChannelInfoField.STATUS]),
        "look": lambda: look(bot),
        "sounds": lambda: bot.request_soundboard_sounds([guild, 4 << 22, 7 << 22]),
        "big": lambda: bot.request_guild_members(guild, query=BIG, limit=3),
        "long": lambda: bot.shards[0].update_presence(activity=hikari.Activity(name=BIG)),
    }
    try:
        await calls[word]()
    except RelayError as error:
        retry_after_s = getattr(error, "retry_after_s", None)
        record("command", word=word, error=type(error).__name__, message=str(error), retry_after_s=retry_after_s)
    else:
        record("command", word=word, error=None)


async def look(bot: Bot) -> None:
    """Write down what the shards say of themselves."""
    record(
        "shards",
        shards={
            shard.id: [
                shard.is_alive,
                shard.is_connected,
                shard.heartbeat_latency,
                shard.shard_count,
                int(shard.intents),
                int(shard.get_user_id()),
            ]
            for shard in bot.shards.values()
        },
        count=bot.shard_count,
        latency=bot.heartbeat_latency,
        me=int(bot.get_me().id) if bot.get_me() else None,
    )


async def refuses(_: Bot) -> None:
    raise RuntimeError("not today")
