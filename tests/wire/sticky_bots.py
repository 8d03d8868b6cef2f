"""A bot that remembers in its process which messages it sent and which modals it opened, and answers only those."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import Any

import hikari

from consumers import Bot
from tests.wire.consume_bots import hold, record

known: set[str] = set()
told: dict[str, Any] = {}


def setup(bot: Bot) -> None:
    bot.subscribe(hikari.MessageCreateEvent, on_message)
    bot.subscribe(hikari.InteractionCreateEvent, on_interaction)


async def on_message(event: hikari.MessageCreateEvent) -> None:
    """`panel CUSTOM_ID` sends a message with a button; `edit MESSAGE_ID` gives one new buttons."""
    assert isinstance(event.app, Bot)
    word, _, rest = (event.content or "").partition(" ")
    channel = await text_channel(event.app)
    if word == "panel":
        message = await event.app.rest.create_message(channel, "a panel", component=button(event.app, rest))
    elif word == "edit":
        message = await event.app.rest.edit_message(channel, int(rest), component=button(event.app, "new"))
    elif word == "touch":
        await event.app.rest.edit_message(channel, int(rest), "other words")
        return record("touched", id=rest)
    else:
        return None
    known.add(str(message.id))
    return record("sent", id=str(message.id), content=event.content)


async def text_channel(bot: Bot) -> hikari.Snowflake:
    if "channel" not in told:
        guild = (await bot.rest.fetch_my_guilds())[0]
        channels = await bot.rest.fetch_guild_channels(guild)
        told["channel"] = next(one.id for one in channels if isinstance(one, hikari.GuildTextChannel))
    return hikari.Snowflake(told["channel"])


def button(bot: Bot, custom_id: str) -> hikari.api.MessageActionRowBuilder:
    row = bot.rest.build_message_action_row()
    row.add_interactive_button(hikari.ButtonStyle.PRIMARY, custom_id, label="press")
    return row


async def on_interaction(event: hikari.InteractionCreateEvent) -> None:
    interaction = event.interaction
    if isinstance(interaction, hikari.CommandInteraction):
        await on_command(interaction)
    elif isinstance(interaction, hikari.ModalInteraction):
        key = f"{interaction.custom_id} {interaction.user.id}"
        record("modal", id=str(interaction.id), is_known=key in known)
    elif isinstance(interaction, hikari.ComponentInteraction):
        await on_component(interaction)


async def on_component(interaction: hikari.ComponentInteraction) -> None:
    answers = interaction.message.interaction_metadata
    is_known = str(interaction.message.id) in known or (answers is not None and str(answers.interaction_id) in known)
    record("component", id=str(interaction.id), is_known=is_known, custom_id=interaction.custom_id)
    if interaction.custom_id == "hold" and is_known:
        await hold()
    if interaction.custom_id == "block" and is_known:
        time.sleep(float(os.environ["BLOCK_S"]))  # noqa: ASYNC251 - that is what is tested
        record("unblocked")
    if interaction.custom_id == "fail":
        raise ValueError("as told")
    record("answered", id=str(interaction.id))


async def on_command(interaction: hikari.CommandInteraction) -> None:
    bot = interaction.app
    assert isinstance(bot, Bot)
    # The simulator does not know interactions that a test made by hand.
    with contextlib.suppress(hikari.NotFoundError, asyncio.TimeoutError):
        if interaction.command_name == "modal":
            known.add(f"m {interaction.user.id}")
            row = bot.rest.build_modal_action_row().add_text_input("name", "Name")
            await interaction.create_modal_response("Title", "m", component=row)
        else:
            known.add(str(interaction.id))
            create = interaction.create_initial_response
            await create(hikari.ResponseType.MESSAGE_CREATE, "a panel", component=button(bot, "b"))
    record("command", id=str(interaction.id))
