"""hikari's REST client whose bulk overwrites of commands ask the group first."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import hikari
from hikari import impl

from consumers.command_digest import digest_of_wanted
from consumers.command_sync import WantedCommands
from eventbus.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumers.command_sync import CommandSync

_log = logging.getLogger(__name__)


class GroupRestClient(impl.RESTClientImpl):
    """As hikari's. `command_sync` is set while the bot runs; without it, commands are sent as by any bot."""

    __slots__ = ("_builds_with", "command_sync")

    def __init__(self, *, entity_factory: impl.EntityFactoryImpl, **options: Any) -> None:  # noqa: ANN401 - hikari's
        super().__init__(entity_factory=entity_factory, **options)
        self._builds_with = entity_factory
        self.command_sync: CommandSync | None = None

    async def fetch_application_commands(
        self,
        application: hikari.SnowflakeishOr[hikari.PartialApplication],
        guild: hikari.UndefinedOr[hikari.SnowflakeishOr[hikari.PartialGuild]] = hikari.UNDEFINED,
    ) -> Sequence[hikari.PartialCommand]:
        """As hikari's."""
        commands = await super().fetch_application_commands(application, guild)
        if self.command_sync is not None:
            try:
                await self.command_sync.saw(_scope(application, guild), commands)
            except RelayError as error:
                _log.debug("not told to the group", extra={"action": "commands_untold", "reason": str(error)})
        return commands

    async def set_application_commands(
        self,
        application: hikari.SnowflakeishOr[hikari.PartialApplication],
        commands: Sequence[hikari.api.CommandBuilder],
        guild: hikari.UndefinedOr[hikari.SnowflakeishOr[hikari.PartialGuild]] = hikari.UNDEFINED,
    ) -> Sequence[hikari.PartialCommand]:
        """As hikari's; of the processes of a group that set the same commands, one sends them."""
        if self.command_sync is None:
            return await super().set_application_commands(application, commands, guild)
        set_them = super().set_application_commands
        fetch_them = super().fetch_application_commands
        scope = _scope(application, guild)
        bodies = [command.build(self._builds_with) for command in commands]
        return await self.command_sync.sync(
            WantedCommands(
                scope,
                digest_of_wanted(scope, bodies),
                send=lambda: set_them(application, commands, guild),
                fetch=lambda: fetch_them(application, guild),
            )
        )


def _scope(
    application: hikari.SnowflakeishOr[hikari.PartialApplication],
    guild: hikari.UndefinedOr[hikari.SnowflakeishOr[hikari.PartialGuild]],
) -> str:
    place = "" if guild is hikari.UNDEFINED else f"/{hikari.Snowflake(guild)}"
    return f"{hikari.Snowflake(application)}{place}"
