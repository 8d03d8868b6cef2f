"""The broker's own check that all processes of a group share its dispatches in the same way.

A queue with the layout as an argument. Each process declares and consumes it: RabbitMQ refuses a declaration
with other arguments, and the queue goes with its last consumer.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from pamqp import commands

from eventbus.errors import ConfigurationError
from eventbus.group_layout import GroupLayout

if TYPE_CHECKING:
    from pamqp.common import FieldTable

    from eventbus.amqp.consume_connection import ConsumeConnection
    from eventbus.names import Names

_log = logging.getLogger(__name__)

_CURRENT = re.compile(r"current is (?:the value )?'(\d+)'")


class LayoutQueue:
    """One process's word on its group's layout, given anew on every connect."""

    def __init__(self, names: Names, group: str, layout: GroupLayout) -> None:
        self._name = names.layout(group)
        self._group = group
        self._layout = layout

    async def claim(self, connection: ConsumeConnection) -> None:
        """Raises ConfigurationError if processes run that have another layout."""
        refusal = await connection.attempt(self._declaration(), commands.Queue.DeclareOk)
        if refusal is not None:
            await self._remove_unused(connection, refusal)
        await connection.ask(self._declaration(), commands.Queue.DeclareOk)
        await connection.consume(self._name, lambda _: None)

    async def process_count(self, connection: ConsumeConnection) -> int:
        """How many processes of the group run, this one included. Raises BrokerLostError."""
        return (await connection.ask(self._declaration(), commands.Queue.DeclareOk)).consumer_count or 0

    def _declaration(self) -> commands.Queue.Declare:
        # RabbitMQ compares only arguments that it knows: this one is the code, and no message ever comes here.
        arguments: FieldTable = {"x-max-length": self._layout.code}
        return commands.Queue.Declare(queue=self._name, durable=True, auto_delete=True, arguments=arguments)

    async def _remove_unused(self, connection: ConsumeConnection, refusal: str) -> None:
        """After a restart of the broker it may be there without any process."""
        delete = commands.Queue.Delete(queue=self._name, if_unused=True)
        if await connection.attempt(delete, commands.Queue.DeleteOk) is not None:
            raise ConfigurationError(self._sentence(refusal))
        _log.info("the group has another layout now", extra={"action": "layout_changed", "layout": str(self._layout)})

    def _sentence(self, refusal: str) -> str:
        found = _CURRENT.search(refusal)
        other = f" with {GroupLayout.from_code(int(found.group(1)))}" if found else ""
        return (
            f"group {self._group!r} runs{other} and this process has {self._layout}: give all processes of a group the"
            " same, or stop all of them before you change it (nothing is lost meanwhile)"
        )
