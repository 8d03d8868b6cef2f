"""The queue by which a process of a group hears what others own, and gets the dispatches that are its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aio_pika import DeliveryMode, ExchangeType, Message

from eventbus import messages, owner_messages
from eventbus.amqp.border import broker_border
from eventbus.amqp.deliveries import HEADERS_OF_A_COPY, Delivery, copy_of
from eventbus.amqp.rpc import PUBLISH_TIMEOUT_S, is_bound
from eventbus.amqp.store_channel import StoreChannel
from eventbus.errors import BrokerLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

    from eventbus.amqp.link import Link
    from eventbus.names import Names

_log = logging.getLogger(__name__)

WATCH_INTERVAL_S = 0.25
GRACE_S = 1.0
"""An owner tells half a second later that it has begun; and if this process was late itself, the answer is here."""
BIND_EVERY = 240
"""So many looks apart it is bound again: a binding goes with an exchange that is deleted, and nobody tells."""


@dataclass(frozen=True, slots=True)
class _Forward:
    """A dispatch that another process handles."""

    owner: str
    since: float
    begun: asyncio.Event
    reply: asyncio.Future[owner_messages.ForwardReply | None]


class OwnerQueue:
    """An exclusive queue of `link`'s connection, under a new name on every connect: that name says who an owner is.

    `hear(notice)` is called for what others own, `take(delivery)` for a dispatch that somebody forwarded, `opened()`
    after every connect. Run `watch()` as a task.
    """

    def __init__(
        self,
        link: Link,
        names: Names,
        group: str,
        *,
        hear: Callable[[owner_messages.OwnerNotice], None],
        take: Callable[[Delivery], None],
        opened: Callable[[], None],
    ) -> None:
        self._exchange = names.owners(group)
        self._hear = hear
        self._take = take
        self._opened = opened
        self._asking: AbstractChannel | None = None
        self._telling: AbstractChannel | None = None
        self._own: AbstractQueue | None = None
        self._store = StoreChannel(link)
        self._link = link
        self._forwards: dict[str, _Forward] = {}
        self.name = ""
        link.on_connect(self._set_up)

    async def _set_up(self, connection: AbstractConnection) -> None:
        self._give_up(tuple(self._forwards.values()))  # the replies went with the queue
        asking = await self._link.open_channel(connection, confirms=True)
        telling = await self._link.open_channel(connection, confirms=False)
        self.name = f"{self._exchange}.{secrets.token_hex(8)}"
        queue = await telling.declare_queue(self.name, exclusive=True, auto_delete=True)
        await self._bind(telling, queue)
        await queue.consume(self._on_message, no_ack=True)
        self._asking, self._telling, self._own = asking, telling, queue
        self._opened()

    async def _bind(self, channel: AbstractChannel, queue: AbstractQueue) -> None:
        await queue.bind(await channel.declare_exchange(self._exchange, ExchangeType.FANOUT, durable=True))

    async def _bind_again(self) -> None:
        if self._telling is None or self._own is None or self._telling.is_closed:
            return
        try:
            async with broker_border("bind again", timeout_s=PUBLISH_TIMEOUT_S):
                await self._bind(self._telling, self._own)
        except BrokerLostError as error:
            _log.debug("not bound again", extra={"action": "bind_later", "reason": str(error)})

    # What comes

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        if message.reply_to:
            self._take(Delivery(self.name, message))
        elif message.correlation_id:
            self._on_reply(message.correlation_id, message.body)
        elif message.body:  # without one it is a ping
            try:
                self._hear(messages.decode(owner_messages.owner_notice, message.body))
            except messages.MalformedMessageError as error:
                _log.warning("notice refused", extra={"action": "bad_owner_notice", "reason": str(error)})

    def _on_reply(self, correlation_id: str, body: bytes) -> None:
        forward = self._forwards.get(correlation_id)
        if forward is None or forward.reply.done():
            return
        try:
            reply = messages.decode(owner_messages.forward_reply, body)
            if not isinstance(reply, owner_messages.ForwardBegun):
                forward.reply.set_result(reply)
        except messages.MalformedMessageError as error:
            _log.warning("reply refused", extra={"action": "bad_forward_reply", "reason": str(error)})
            forward.reply.set_result(None)
        forward.begun.set()

    # What goes

    async def tell_all(self, notices: Sequence[owner_messages.Owned | owner_messages.OwnersRollCall]) -> bool:
        """Tell every process of the group; False if the broker may not have got it."""
        return all([await self._tell(self._exchange, "", notice) for notice in notices])

    async def tell(self, owner: str, notice: owner_messages.Owned) -> bool:
        """Tell one process; False if the broker may not have got it."""
        return await self._tell("", owner, notice)

    async def reply(self, delivery: Delivery, reply: messages.Message) -> bool:
        """Say what became of a dispatch that came by `take`; False if the broker may not have got it."""
        message = delivery.message
        return await self._tell("", message.reply_to or "", reply, correlation_id=message.correlation_id)

    async def _tell(
        self, exchange: str, routing_key: str, message: messages.Message, *, correlation_id: str | None = None
    ) -> bool:
        channel = self._telling
        if channel is None or channel.is_closed:
            return False
        body = Message(
            messages.encode(message),
            content_type="application/json",
            correlation_id=correlation_id,
            delivery_mode=DeliveryMode.NOT_PERSISTENT,
        )
        try:
            async with broker_border("notice", timeout_s=PUBLISH_TIMEOUT_S):
                target = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
                await target.publish(body, routing_key, mandatory=False)
        except BrokerLostError as error:
            _log.debug("notice lost", extra={"action": "notice_lost", "key": routing_key, "reason": str(error)})
            return False
        return True

    async def forward(
        self, delivery: Delivery, owner: str, *, begin_within_s: float | None
    ) -> owner_messages.ForwardReply | None:
        """Have `owner` handle it, and wait for what came of it; None if the owner may have had it, and is gone.

        Raises UnroutableError: the owner is gone and never had it; BrokerLostError: nobody knows; TimeoutError: the
        owner has not begun for so long, and now takes it for too old, too.
        """
        correlation_id = uuid.uuid4().hex
        loop = asyncio.get_running_loop()
        forward = _Forward(owner, loop.time(), asyncio.Event(), loop.create_future())
        self._forwards[correlation_id] = forward
        kept = {name: value for name, value in delivery.headers.items() if name in HEADERS_OF_A_COPY}
        message = copy_of(delivery, kept)
        message.delivery_mode = DeliveryMode.NOT_PERSISTENT
        message.reply_to, message.correlation_id = self.name, correlation_id
        try:
            await self._store.store(message, routing_key=owner)
            await _begun(forward.begun, begin_within_s)
            return await forward.reply
        finally:
            del self._forwards[correlation_id]

    def _asking_now(self) -> AbstractChannel:
        if self._asking is None or self._asking.is_closed:
            raise BrokerLostError("the connection to RabbitMQ is being opened again")
        return self._asking

    # Who is gone

    async def watch(self) -> None:
        """Ask the broker for ever whether they still live who have our dispatches for long."""
        for look in itertools.count(1):
            await asyncio.sleep(WATCH_INTERVAL_S)
            if look % BIND_EVERY == 0:
                await self._bind_again()
            before = asyncio.get_running_loop().time() - WATCH_INTERVAL_S
            for owner in {one.owner for one in self._forwards.values() if one.since < before}:
                if await self._is_gone(owner):
                    self._give_up([one for one in self._forwards.values() if one.owner == owner])

    async def _is_gone(self, owner: str) -> bool:
        try:
            return not await is_bound(self._asking_now(), "", owner)
        except BrokerLostError:
            return False  # nobody knows

    @staticmethod
    def _give_up(forwards: Sequence[_Forward]) -> None:
        for forward in forwards:
            if not forward.reply.done():
                forward.reply.set_result(None)
                forward.begun.set()


async def _begun(begun: asyncio.Event, within_s: float | None) -> None:
    """Raises TimeoutError if it has not `within_s` and GRACE_S, which the event loop has to run through."""
    for timeout_s in (within_s, GRACE_S):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await begun.wait()
                return
    raise TimeoutError
