"""A bot whose handlers misbehave as the content of a message says: too long, blocking, exiting, forking."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import hikari
from consume_bots import hold, record

if TYPE_CHECKING:
    from consumers import Bot

CRUNCH = 400_000_000
BLOCKS_S = {"spin": 0.003, "block": 2.5, "block-15": 15.0, "block-for-ever": 1e6}


def setup(bot: Bot) -> None:
    bot.subscribe(hikari.MessageCreateEvent, on_message)
    bot.subscribe(hikari.TypingEvent, on_typing)
    bot.subscribe(hikari.ComponentInteractionCreateEvent, on_interaction)
    bot.subscribe(hikari.ExceptionEvent, on_failure)


async def on_message(event: hikari.MessageCreateEvent) -> None:
    content = event.content or ""
    record("message", content=content)
    await _misbehave(content.split(" ")[0])
    record("end", content=content)


async def on_typing(event: hikari.TypingEvent) -> None:
    record("typing", channel=str(event.channel_id))


async def on_interaction(event: hikari.ComponentInteractionCreateEvent) -> None:
    record("interaction", id=str(event.interaction.id), custom_id=event.interaction.custom_id)


async def on_failure(event: hikari.ExceptionEvent[Any]) -> None:
    record("exception", error=type(event.exception).__name__)


async def _misbehave(word: str) -> None:
    match word:
        case "nap":
            await asyncio.sleep(0.2)
        case "hold":
            await hold()
        case "spin" | "block" | "block-15" | "block-for-ever":
            time.sleep(BLOCKS_S[word])  # noqa: ASYNC251 - as told
        case "crunch":
            sum(range(CRUNCH))  # no other thread runs meanwhile
        case "stubborn":
            await _never_end()
        case "cancelled":
            nobody: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            nobody.cancel()
            await nobody
        case "exit" | "exit-3":
            sys.exit(3 if word == "exit-3" else None)
        case "fork":
            if os.fork() == 0:
                return


async def _never_end() -> None:
    holding = asyncio.ensure_future(hold())
    while not holding.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(holding)
