"""Hears what the fleet tells everyone on the control exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus import messages
from eventbus.refusal_log import RefusalLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractConnection, AbstractIncomingMessage

    from eventbus.amqp.link import Link
    from eventbus.names import Names

MAX_WAITING = 1000


class ControlNews:
    """An exclusive queue of `link`'s connection; `hear(event)` is called for each event of `kinds`, from then on."""

    def __init__(
        self, link: Link, names: Names, *, kinds: tuple[str, ...], hear: Callable[[messages.ControlEvent], None]
    ) -> None:
        self._link = link
        self._names = names
        self._kinds = kinds
        self._hear = hear
        self._refusals = RefusalLog("control event refused", action="bad_control_event")
        link.on_connect(self._set_up)

    async def _set_up(self, connection: AbstractConnection) -> None:
        channel = await self._link.open_channel(connection, confirms=False)
        await channel.declare_exchange(self._names.control, type="topic", durable=True)
        queue = await channel.declare_queue(exclusive=True, auto_delete=True, arguments={"x-max-length": MAX_WAITING})
        for kind in self._kinds:
            await queue.bind(self._names.control, kind)
        await queue.consume(self._on_message, no_ack=True)

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        try:
            event = messages.decode(messages.control_event, message.body)
        except messages.MalformedMessageError as error:
            self._refusals.refuse(str(error), reason=str(error))
            return
        self._hear(event)
