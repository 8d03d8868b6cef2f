"""A bot that sets the commands of COMMAND_NAMES when it starts, as command libraries do, and says what came of it."""

from __future__ import annotations

import logging
import os

import hikari

_log = logging.getLogger("bot")


def setup(bot: hikari.GatewayBotAware) -> None:
    @bot.event_manager.listen(hikari.StartedEvent)
    async def sync(_: hikari.StartedEvent) -> None:
        application = await bot.rest.fetch_application()
        names = os.environ["COMMAND_NAMES"].split()
        builders = [bot.rest.slash_command_builder(name, "says hello") for name in names]
        try:
            made = await bot.rest.set_application_commands(application, builders)
        except hikari.HTTPResponseError as error:
            _log.info("refused", extra={"action": "sync_refused", "status": error.status})
        else:
            _log.info("synced", extra={"action": "synced", "names": sorted(command.name for command in made)})
