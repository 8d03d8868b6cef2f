"""Listeners of several kinds: `gw-run --entrypoint listeners_bot:setup --entrypoint-dir examples`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import hikari

import consumers
from consumers.errors import CommandError

if TYPE_CHECKING:
    from consumers import Bot

log = logging.getLogger(__name__)


async def setup(bot: Bot) -> None:  # may be async, or a plain function
    @bot.listen()  # by the annotation
    async def on_started(_: hikari.StartedEvent) -> None:
        me = bot.get_me()
        log.info("here is %s, with %d shards", me.username if me else "nobody", bot.shard_count)

    @bot.listen(hikari.GuildMessageCreateEvent, hikari.DMMessageCreateEvent)  # several events
    async def on_message(event: hikari.MessageCreateEvent) -> None:
        dispatch = consumers.current_dispatch()
        if dispatch is not None:
            log.info("shard %d, %.0f ms after Discord", dispatch.shard, (time.time() - dispatch.received_at) * 1000)
        if event.content == "!ask":
            await ask(bot, event)
        elif event.content == "!busy":
            await be_busy(bot)

    @bot.listen(hikari.RoleEvent)  # a base class: create, update and delete
    async def on_role(event: hikari.RoleEvent) -> None:
        log.info("%s in guild %d", type(event).__name__, event.guild_id)

    @bot.listen(hikari.ExceptionEvent)  # what other listeners raise; without this, it is logged
    async def on_failure(event: hikari.ExceptionEvent[hikari.Event]) -> None:
        log.error("a listener failed: %r", event.exception)

    @bot.listen(hikari.StoppingEvent)
    async def on_stopping(_: hikari.StoppingEvent) -> None:
        log.info("goodbye")


async def ask(bot: Bot, event: hikari.MessageCreateEvent) -> None:
    """Wait for the next message of the same author, whichever process of the group the listeners get it in."""
    await event.message.respond("What do you say?")
    try:
        answer = await bot.wait_for(
            hikari.MessageCreateEvent, timeout=10, predicate=lambda other: other.author_id == event.author_id
        )
    except TimeoutError:
        await event.message.respond("Nothing, it seems.")
    else:
        await answer.message.respond(f"You said: {answer.content}")


async def be_busy(bot: Bot) -> None:
    """A gateway command travels to whoever holds the shard, and comes back with an answer or an error."""
    try:
        await bot.shards[0].update_presence(status=hikari.Status.DO_NOT_DISTURB)
    except CommandError as error:
        log.warning("not busy: %s", error)
