"""The broker's own check that all processes of a group share its dispatches in the same way.

A queue with the layout as an argument. Each process declares and consumes it: RabbitMQ refuses a declaration
with other arguments, and the queue goes with its last consumer.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from aio_pika.exceptions import ChannelPreconditionFailed

from eventbus.errors import ConfigurationError
from eventbus.group_layout import GroupLayout

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
    from pamqp.common import FieldTable

    from eventbus.amqp.link import Link
    from eventbus.names import Names

_log = logging.getLogger(__name__)

METHOD_TIMEOUT_S = 10.0
_CURRENT = re.compile(r"current is (?:the value )?'(\d+)'")


class LayoutQueue:
    """One process's word on its group's layout, given anew on every connect of `link`."""

    def __init__(self, link: Link, names: Names, group: str, layout: GroupLayout) -> None:
        self._link = link
        self._name = names.layout(group)
        self._group = group
        self._layout = layout

    async def claim(self, connection: AbstractConnection) -> None:
        """Raises ConfigurationError if processes run that have another layout."""
        probe = await connection.channel(publisher_confirms=False)
        try:
            await self._declare(probe)
        except ChannelPreconditionFailed as error:
            await self._remove_unused(connection, error)
        else:
            await probe.close()
        channel = await self._link.open_channel(connection, confirms=False)
        queue = await self._declare(channel)
        await queue.consume(_ignore, no_ack=True, timeout=METHOD_TIMEOUT_S)

    async def _declare(self, channel: AbstractChannel) -> AbstractQueue:
        # RabbitMQ compares only arguments that it knows: this one is the code, and no message ever comes here.
        arguments: FieldTable = {"x-max-length": self._layout.code}
        return await channel.declare_queue(
            self._name, durable=True, auto_delete=True, arguments=arguments, timeout=METHOD_TIMEOUT_S
        )

    async def _remove_unused(self, connection: AbstractConnection, refusal: Exception) -> None:
        """After a restart of the broker it may be there without any process."""
        channel = await connection.channel(publisher_confirms=False)
        try:
            await channel.queue_delete(self._name, if_unused=True, timeout=METHOD_TIMEOUT_S)
        except ChannelPreconditionFailed as error:
            raise ConfigurationError(self._sentence(str(refusal))) from error
        await channel.close()
        _log.info("the group has another layout now", extra={"action": "layout_changed", "layout": str(self._layout)})

    def _sentence(self, refusal: str) -> str:
        found = _CURRENT.search(refusal)
        other = f" with {GroupLayout.from_code(int(found.group(1)))}" if found else ""
        return (
            f"group {self._group!r} runs{other} and this process has {self._layout}: give all processes of a group the"
            " same, or stop all of them before you change it (nothing is lost meanwhile)"
        )


async def _ignore(_: AbstractIncomingMessage) -> None:
    """Nothing comes."""
