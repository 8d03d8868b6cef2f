"""A bot that answers every interaction over REST, and writes down which dispatches it handled: see deploy.py.

One line for each, `message_id received_at handled_at` (by the worker, here), in a file of its own for each process;
before the answer is sent. Answers are ephemeral: others would come back as messages.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hikari

import consumers

if TYPE_CHECKING:
    from consumers import Bot


def setup(bot: Bot) -> None:
    """The entrypoint; RECORD_DIR is where the file goes."""
    path = Path(os.environ["RECORD_DIR"]) / f"{os.getpid()}.record"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def record() -> None:
        dispatch = consumers.current_dispatch()
        if dispatch is not None:
            os.write(file, f"{dispatch.message_id} {dispatch.received_at:.6f} {time.time():.6f}\n".encode())

    @bot.listen()
    async def on_message(_: hikari.MessageCreateEvent) -> None:
        record()

    @bot.listen()
    async def on_interaction(event: hikari.InteractionCreateEvent) -> None:
        record()
        interaction = event.interaction
        if isinstance(interaction, hikari.CommandInteraction | hikari.ComponentInteraction):
            await interaction.create_initial_response(
                hikari.ResponseType.MESSAGE_CREATE, "answered", flags=hikari.MessageFlag.EPHEMERAL
            )
