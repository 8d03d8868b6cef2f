"""What the coordinator does on the broker besides answering: asks what is bound, and tells."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aio_pika import DeliveryMode, Message

from eventbus import messages
from eventbus.amqp.border import broker_border
from eventbus.amqp.rpc import PUBLISH_TIMEOUT_S, is_bound
from eventbus.errors import BrokerLostError

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection

    from eventbus.amqp.link import Link
    from eventbus.names import Names

_log = logging.getLogger(__name__)


class ControlChannel:
    """Questions go over a channel with confirms, notices over one without: nobody needs to be there to hear them.

    Where an exchange was deleted, the first of them restarts the link, which declares it again.
    """

    def __init__(self, link: Link, names: Names) -> None:
        self._link = link
        self._names = names
        self._asking: AbstractChannel | None = None
        self._telling: AbstractChannel | None = None
        link.on_connect(self._set_up)

    async def _set_up(self, connection: AbstractConnection) -> None:
        asking = await self._link.open_channel(connection, confirms=True)
        await asking.declare_exchange(self._names.control, type="topic", durable=True)
        await asking.declare_exchange(self._names.holder, type="direct", durable=True)
        self._telling = await self._link.open_channel(connection, confirms=False)
        self._asking = asking

    async def has_queue(self, name: str) -> bool | None:
        """Whether queue `name` exists; None if the broker gave no answer."""
        return await self._ask("", name)

    async def has_holder(self, shard: int) -> bool | None:
        """Whether anybody is bound as the shard's holder; None if the broker gave no answer."""
        return await self._ask(self._names.holder, str(shard))

    async def _ask(self, exchange: str, routing_key: str) -> bool | None:
        if self._asking is None or self._asking.is_closed:
            return None
        try:
            return await is_bound(self._asking, exchange, routing_key)
        except BrokerLostError as error:
            _log.debug("no answer", extra={"action": "ping_unanswered", "key": routing_key, "reason": str(error)})
            return None

    async def broadcast(self, routing_key: str, message: messages.Message) -> None:
        """Tell everyone who listens to `routing_key` on the control exchange; nobody may."""
        await self._tell(self._names.control, routing_key, message)

    async def send(self, queue: str, message: messages.Message) -> None:
        """Put a message into a queue if it exists."""
        await self._tell("", queue, message)

    async def _tell(self, exchange: str, routing_key: str, message: messages.Message) -> None:
        channel = self._telling
        if channel is None or channel.is_closed:
            return
        body = Message(
            messages.encode(message), content_type="application/json", delivery_mode=DeliveryMode.NOT_PERSISTENT
        )
        try:
            async with broker_border("notice", timeout_s=PUBLISH_TIMEOUT_S):
                target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
                await target.publish(body, routing_key, mandatory=False)
        except BrokerLostError as error:
            _log.debug("notice lost", extra={"action": "notice_lost", "key": routing_key, "reason": repr(error)})
