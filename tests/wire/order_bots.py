"""A bot that writes down in which order the handlers of guilds' events start, and lets each take a while."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import hikari
from consume_bots import record

from consumers import current_dispatch

if TYPE_CHECKING:
    from consumers import Bot


def setup(bot: Bot) -> None:
    bot.subscribe(hikari.GuildMessageDeleteEvent, on_event)
    bot.subscribe(hikari.RoleDeleteEvent, on_event)


async def on_event(event: hikari.GuildMessageDeleteEvent | hikari.RoleDeleteEvent) -> None:
    dispatch = current_dispatch()
    assert dispatch is not None
    record("started", guild=int(event.guild_id), seq=dispatch.seq)
    await asyncio.sleep(random.uniform(0, 0.02))
