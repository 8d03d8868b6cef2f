"""A bot whose handlers misbehave as the content of a message says: too long, blocking, exiting, forking."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
import time
from typing import Any

import hikari
from consume_bots import hold, record

from consumers import Bot

CRUNCH = 150_000_000
left_behind: set[asyncio.Task[None]] = set()
BLOCKS_S = {"spin": 0.003, "block": 2.5, "block-15": 15.0, "block-for-ever": 1e6}


def setup(bot: Bot) -> None:
    bot.subscribe(hikari.MessageCreateEvent, on_message)
    bot.subscribe(hikari.TypingEvent, on_typing)
    bot.subscribe(hikari.ComponentInteractionCreateEvent, on_interaction)
    bot.subscribe(hikari.ExceptionEvent, on_failure)
    bot.subscribe(AfterwardsEvent, on_afterwards)
    lifetime, _, word = os.environ.get("ON_LIFETIME", "").partition(" ")
    if lifetime:
        bot.subscribe(getattr(hikari, lifetime), functools.partial(on_lifetime, bot, word))


def setup_waiting(bot: Bot) -> None:
    """One handler waits for what another one, which gives up, would have brought."""

    @bot.listen()
    async def wait(_: hikari.StartingEvent) -> None:
        await asyncio.Event().wait()

    setup(bot)


class AfterwardsEvent(hikari.Event):
    """Of a task that a handler left behind."""

    def __init__(self, app: hikari.RESTAware) -> None:
        self._app = app

    @property
    def app(self) -> hikari.RESTAware:
        return self._app


async def on_lifetime(bot: Bot, word: str, event: hikari.Event) -> None:
    record("lifetime", event=type(event).__name__)
    if word == "close":
        await bot.close()
    await _misbehave(word)


async def on_afterwards(_: AfterwardsEvent) -> None:
    sys.exit(4)


async def dispatch_later(bot: hikari.GatewayBotAware) -> None:
    await asyncio.sleep(0.5)
    bot.event_manager.dispatch(AfterwardsEvent(bot))


async def on_message(event: hikari.MessageCreateEvent) -> None:
    content = event.content or ""
    record("message", content=content)
    if content == "leave a task":
        assert isinstance(event.app, Bot)
        left_behind.add(asyncio.create_task(dispatch_later(event.app)))
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
