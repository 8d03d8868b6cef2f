"""One consumer's own queue: copies of the dispatches that it waits for, bound and unbound while it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aio_pika import ExchangeType

from eventbus.amqp.border import broker_border
from eventbus.amqp.deliveries import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
    from pamqp.common import FieldTable

    from eventbus.amqp.link import Link
    from eventbus.names import Names

METHOD_TIMEOUT_S = 10.0
SYNC_TIMEOUT_S = 60.0
"""For all bindings: a busy connection answers each method late."""
ARGUMENTS: FieldTable = {"x-max-length": 10_000, "x-max-length-bytes": 64 << 20}
"""Of a process that cannot keep up, the oldest copies go: nothing of the broker's waits for a waiter."""


class OwnQueue:
    """Queue `name` of a link, exclusive: it goes with the connection, and all its bindings with it.

    `wanted()` gives the event types to bind. `take(copy)` is called for each copy, in order, and must not block; a copy
    is settled when it is delivered. `on_loss()` is called when it is gone: `sync`, or a new connection, brings it back.
    """

    def __init__(
        self,
        link: Link,
        names: Names,
        name: str,
        *,
        wanted: Callable[[], frozenset[str]],
        take: Callable[[Delivery], None],
        on_loss: Callable[[], None],
    ) -> None:
        self._link = link
        self._names = names
        self._name = name
        self._wanted = wanted
        self._take = take
        self._on_loss = on_loss
        self._lock = asyncio.Lock()
        self._queue: AbstractQueue | None = None
        self._is_lost = True
        self._declared: set[str] = set()
        self._bound: set[str] = set()
        link.on_connect(self._set_up)

    @property
    def bound(self) -> frozenset[str]:
        """The event types that it is bound to."""
        return frozenset() if self._is_lost else frozenset(self._bound)

    async def sync(self, *, again: bool = False) -> None:
        """Return when what is wanted is bound, `again` if need be, and nothing else. Raises BrokerLostError."""
        async with self._lock, broker_border("the own queue was not bound", timeout_s=SYNC_TIMEOUT_S):
            if self._is_lost:
                await self._declare(self._link.connection)
            await self._bind(again=again)

    async def _set_up(self, connection: AbstractConnection) -> None:
        async with self._lock:
            await self._declare(connection)
            await self._bind(again=False)

    async def _declare(self, connection: AbstractConnection) -> None:
        channel = await connection.channel(publisher_confirms=False)
        arguments = ARGUMENTS
        queue = await channel.declare_queue(
            self._name, exclusive=True, auto_delete=True, arguments=arguments, timeout=METHOD_TIMEOUT_S
        )
        self._queue, self._bound, self._declared = queue, set(), set()
        await self._watch(channel)
        await queue.consume(self._on_message, no_ack=True, timeout=METHOD_TIMEOUT_S)
        self._is_lost = False

    async def _watch(self, channel: AbstractChannel) -> None:
        def on_loss(*_: Any) -> None:  # noqa: ANN401 - whoever says so
            if self._queue is not None and self._queue.channel is channel:
                self._is_lost = True
                self._on_loss()

        channel.close_callbacks.add(on_loss, weak=False)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(on_loss)

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        self._take(Delivery(self._name, message))

    async def _bind(self, *, again: bool) -> None:
        """One after another; what comes to be wanted meanwhile, too."""
        if again:
            self._declared.clear()
        while (missing := self._wanted() - (self._declared & self._bound)) or self._bound - self._wanted():
            for event_type in sorted(missing):
                await self._bind_one(event_type)
            for event_type in sorted(self._bound - self._wanted()):
                await self._unbind_one(event_type)

    async def _bind_one(self, event_type: str) -> None:
        if self._queue is None:
            return
        exchange = self._names.event(event_type)
        if event_type not in self._declared:
            channel = self._queue.channel
            await channel.declare_exchange(exchange, ExchangeType.TOPIC, durable=True, timeout=METHOD_TIMEOUT_S)
            self._declared.add(event_type)
        await self._queue.bind(exchange, "#", timeout=METHOD_TIMEOUT_S)
        self._bound.add(event_type)

    async def _unbind_one(self, event_type: str) -> None:
        if self._queue is not None:
            await self._queue.unbind(self._names.event(event_type), "#", timeout=METHOD_TIMEOUT_S)
            self._bound.discard(event_type)
