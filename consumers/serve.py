"""Runs a bot until it is told to stop, or closes itself."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Unpack

import hikari

from eventbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.bot import Bot
    from consumers.start_request import StartOptions


_log = logging.getLogger(__name__)


async def serve(
    bot: Bot, stop: asyncio.Event, *, on_ready: Callable[[], None] | None = None, **options: Unpack[StartOptions]
) -> None:
    """Start the bot with `options`; `on_ready()` when it consumes; until `stop` or its own end. Raises RelayError."""
    if stop.is_set():
        return
    if bot.is_alive:
        raise ConfigurationError("the bot was started before its time: the entrypoint is only to set it up")
    closer = asyncio.create_task(_close_on(stop, bot), name="close on a signal")
    try:
        await bot.start(**options)
        if on_ready is not None:
            on_ready()
        await bot.join()
    except hikari.ComponentStateConflictError:
        if not stop.is_set():
            _log.warning("the bot was closed while it started", extra={"action": "closed_early"})
    finally:
        closer.cancel()


async def _close_on(stop: asyncio.Event, bot: Bot) -> None:
    await stop.wait()
    if bot.is_alive:
        await bot.close()
