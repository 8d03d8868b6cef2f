"""Command sync once for each group: of the processes that want the same commands, one sends them to Discord.

docs/decisions/0010-command-sync.md says how, and what happens on deploys and failures.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
import hikari

from consumers.command_decision import Sync, decide
from consumers.command_digest import digest_of_made
from eventbus.command_record import CommandsSynced, of_scope
from eventbus.errors import RelayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from eventbus.amqp.command_records import CommandRecords

    Commands = Sequence[hikari.PartialCommand]

_log = logging.getLogger(__name__)

LOOK_AGAIN_S = 5.0


@dataclass(frozen=True, slots=True)
class WantedCommands:
    """A bulk overwrite that a handler asked for: digest of its body, and how to send it or to read what is there."""

    scope: str
    digest: str
    send: Callable[[], Awaitable[Commands]]
    fetch: Callable[[], Awaitable[Commands]]


class CommandSync:
    """One process's part, alive as long as its consumer: `run()` is a service."""

    def __init__(self, records: CommandRecords) -> None:
        self._records = records
        self._one_at_a_time = asyncio.Lock()
        self._runs: dict[str, str] = {}
        self._superseded: dict[str, WantedCommands] = {}

    async def saw(self, scope: str, commands: Commands) -> None:
        """A handler fetched the commands of a scope: until it sends others, this process runs with them."""
        async with self._one_at_a_time:
            if scope not in self._runs and scope not in self._superseded:
                await self._run_with(scope, digest_of_made(scope, commands))

    async def sync(self, wanted: WantedCommands) -> Commands:
        """Send them, unless the group did; what Discord has now. Raises what sending and fetching raise.

        A broker that is away leaves it to this process alone: then several may send the same.
        """
        async with self._one_at_a_time:
            self._superseded.pop(wanted.scope, None)
            try:
                async with self._records.turn():
                    return await self._in_turn(wanted)
            except RelayError as error:
                extra = {"action": "commands_alone", "scope": wanted.scope, "reason": str(error)}
                _log.warning("commands are sent without asking the group", extra=extra)
                return await wanted.send()

    async def _in_turn(self, wanted: WantedCommands) -> Commands:
        await self._run_with(wanted.scope, None)
        there = await wanted.fetch()
        made = digest_of_made(wanted.scope, there)
        records = of_scope(await self._records.read(), wanted.scope)
        is_newest_run = bool(records) and await self._records.is_run(records[-1].made)
        verdict = decide(records, wanted=wanted.digest, made=made, is_newest_run=is_newest_run)
        extra = {"action": f"commands_{verdict.value}", "scope": wanted.scope, "count": len(there)}
        if verdict is Sync.SEND:
            _log.info("sending commands", extra=extra | {"action": "commands_sending"})
            there = await self._send(wanted)
            self._superseded.pop(wanted.scope, None)
            _log.info("commands sent", extra=extra | {"action": "commands_sent", "count": len(there)})
            return there
        if verdict is Sync.SUPERSEDED:
            self._superseded[wanted.scope] = wanted
            _log.warning(
                "commands not sent: another process of this group runs with newer ones;"
                " they are sent when no process does any more",
                extra=extra,
            )
            return there
        self._superseded.pop(wanted.scope, None)
        await self._run_with(wanted.scope, made)
        _log.info("commands were sent by another process of this group", extra=extra)
        return there

    async def _send(self, wanted: WantedCommands) -> Commands:
        there = await wanted.send()
        made = digest_of_made(wanted.scope, there)
        try:
            await self._records.append(CommandsSynced(scope=wanted.scope, wanted=wanted.digest, made=made))
            await self._run_with(wanted.scope, made)
        except RelayError as error:
            extra = {"action": "commands_unrecorded", "scope": wanted.scope, "reason": str(error)}
            _log.warning("commands were sent; the group may send them once more", extra=extra)
        return there

    async def _run_with(self, scope: str, made: str | None) -> None:
        if (former := self._runs.pop(scope, None)) is not None:
            await self._records.leave(former)
        if made is not None:
            self._runs[scope] = made
            await self._records.join(made)

    async def run(self) -> None:
        """Send what was superseded as soon as nobody runs with what superseded it: the newer release was taken back."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            for scope, wanted in list(self._superseded.items()):
                try:
                    await self._look_again(scope, wanted)
                except (RelayError, hikari.HikariError, aiohttp.ClientError, OSError) as error:
                    extra = {"action": "commands_later", "scope": scope, "reason": str(error)}
                    _log.warning("commands that wait could not be sent yet", extra=extra)

    async def _look_again(self, scope: str, wanted: WantedCommands) -> None:
        async with self._one_at_a_time:
            if self._superseded.get(scope) is not wanted:
                return
            records = of_scope(await self._records.read(), scope)
            if records and await self._records.is_run(records[-1].made):
                return
            async with self._records.turn():
                await self._in_turn(wanted)
