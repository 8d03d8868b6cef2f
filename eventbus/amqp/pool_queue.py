"""The queue by which a process of a partitioned group hears of the others, and by which they see that it lives."""

from __future__ import annotations

import logging
import secrets
from typing import TYPE_CHECKING

from aio_pika import DeliveryMode, Message

from eventbus import messages, pool_messages
from eventbus.amqp.border import broker_border
from eventbus.amqp.rpc import PUBLISH_TIMEOUT_S, is_bound
from eventbus.amqp.store_channel import StoreChannel
from eventbus.errors import BrokerLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventbus.amqp.consume_connection import ConsumeConnection, Tagged
    from eventbus.amqp.link import DeliveryLink, Link
    from eventbus.names import Names

_log = logging.getLogger(__name__)


class PoolQueue:
    """An exclusive queue on `deliveries`, the link that consumes partitions: it is gone when that connection is.

    It has a new name on every connect. `link` publishes, since an alarm stops a connection that publishes.
    `hear(notice)` is called for what others tell, `opened(name)` after every connect.
    """

    def __init__(
        self,
        deliveries: DeliveryLink,
        link: Link,
        names: Names,
        group: str,
        *,
        hear: Callable[[pool_messages.PoolNotice], None],
        opened: Callable[[str], None],
    ) -> None:
        self._exchange = names.pool(group)
        self._name = ""
        self._deliveries = deliveries
        self._hear = hear
        self._opened = opened
        self._publishing = StoreChannel(link)
        deliveries.on_connect(self._set_up)

    async def _set_up(self, connection: ConsumeConnection) -> None:
        self._name = f"{self._exchange}.{secrets.token_hex(8)}"
        await connection.declare_own_queue(self._name, {})
        await self._bind(connection)
        await connection.consume(self._name, self._on_message)
        self._opened(self._name)

    async def _bind(self, connection: ConsumeConnection) -> None:
        await connection.declare_exchange(self._exchange, "fanout")
        await connection.bind(self._name, self._exchange, "")

    async def bind_again(self) -> None:
        """Somebody may have deleted the exchange, with all bindings."""
        try:
            await self._bind(self._deliveries.connection)
        except BrokerLostError as error:
            _log.debug("not bound again", extra={"action": "bind_later", "reason": str(error)})

    def _on_message(self, tagged: Tagged) -> None:
        if not tagged.message.body:
            return  # a ping
        try:
            self._hear(messages.decode(pool_messages.pool_notice, tagged.message.body))
        except messages.MalformedMessageError as error:
            _log.warning("notice refused", extra={"action": "bad_pool_notice", "reason": str(error)})

    async def tell_all(self, notice: pool_messages.PoolNotice) -> bool:
        """Tell every process of the group, this one too; False if the broker may not have got it."""
        return await self._tell(self._exchange, "", notice)

    async def tell(self, member: str, notice: pool_messages.PoolNotice) -> bool:
        """Tell one process; False if the broker may not have got it."""
        return await self._tell("", member, notice)

    async def _tell(self, exchange: str, routing_key: str, notice: pool_messages.PoolNotice) -> bool:
        message = Message(
            messages.encode(notice), content_type="application/json", delivery_mode=DeliveryMode.NOT_PERSISTENT
        )
        try:
            channel = await self._publishing.open()
            async with broker_border("notice", timeout_s=PUBLISH_TIMEOUT_S):
                target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
                await target.publish(message, routing_key, mandatory=False)
        except BrokerLostError as error:
            _log.debug("notice lost", extra={"action": "notice_lost", "key": routing_key, "reason": str(error)})
            return False
        return True

    async def is_gone(self, member: str) -> bool:
        """Whether the broker says that the member's connection is gone; False if the broker says nothing."""
        try:
            return not await is_bound(await self._publishing.open(), "", member)
        except BrokerLostError:
            return False
