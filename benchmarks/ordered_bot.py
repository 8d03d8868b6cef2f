"""The bot of `benchmarks.ordering`: writes down when the handlers of each dispatch start, and lets them take a while.

One line for each, `guild seq started_at sent_at cpu_s`, in a file of its own for each process; it is with the kernel
before the handler goes on, so it survives a SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hikari

from consumers import current_dispatch

if TYPE_CHECKING:
    from consumers import Bot


def setup(bot: Bot) -> None:
    """Subscribe; ORDERED_DIR is the folder to write to, ORDERED_HANDLER_S what a handler takes at most."""
    longest_s = float(os.environ["ORDERED_HANDLER_S"])
    path = Path(os.environ["ORDERED_DIR"]) / f"{os.getpid()}.started"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def on_event(event: hikari.GuildMessageDeleteEvent | hikari.RoleDeleteEvent) -> None:
        dispatch = current_dispatch()
        if dispatch is None:
            return
        number = event.message_id if isinstance(event, hikari.GuildMessageDeleteEvent) else event.role_id
        line = f"{int(event.guild_id)} {dispatch.seq} {time.time():.6f} {int(number)} {time.process_time():.6f}\n"
        os.write(file, line.encode())
        if longest_s:
            await asyncio.sleep(random.uniform(0, longest_s))

    bot.subscribe(hikari.GuildMessageDeleteEvent, on_event)
    bot.subscribe(hikari.RoleDeleteEvent, on_event)
