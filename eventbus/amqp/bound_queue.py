"""An exclusive queue of a link whose bindings come and go, and survive every reconnect."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from aio_pika.exceptions import ChannelNotFoundEntity

from eventbus.amqp.border import broker_border
from eventbus.errors import BrokerLostError

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractQueue

_log = logging.getLogger(__name__)

ExchangeKind = Literal["topic", "direct"]

MEND_TIMEOUT_S = 10.0


class BoundQueue:
    """Queue `name`; `exchanges` (name → kind) are declared, durable, before anything is bound to them."""

    def __init__(self, name: str, exchanges: dict[str, ExchangeKind]) -> None:
        self._name = name
        self._exchanges = exchanges
        self._bindings: set[tuple[str, str]] = set()
        self._queue: AbstractQueue | None = None

    async def declare(self, channel: AbstractChannel) -> AbstractQueue:
        """Declare the queue on `channel` and bind it to all that it should be bound to."""
        for exchange, kind in self._exchanges.items():
            await channel.declare_exchange(exchange, type=kind, durable=True)
        queue = await channel.declare_queue(self._name, exclusive=True, auto_delete=True)
        bound: set[tuple[str, str]] = set()
        while bound != self._bindings:  # `bind` and `unbind` go on meanwhile
            for binding in self._bindings - bound:
                await queue.bind(*binding)
                bound.add(binding)
            for binding in bound - self._bindings:
                await queue.unbind(*binding)
                bound.discard(binding)
        self._queue = queue
        return queue

    async def bind(self, exchange: str, routing_key: str) -> None:
        """Bind now, or as soon as the link is up."""
        self._bindings.add((exchange, routing_key))
        if self._queue is not None:
            try:
                async with broker_border("bind"):
                    await self._queue.bind(exchange, routing_key)
            except BrokerLostError as error:
                self._on_failure(error)

    async def unbind(self, exchange: str, routing_key: str) -> None:
        """Unbind; after a reconnect the binding stays away too."""
        self._bindings.discard((exchange, routing_key))
        if self._queue is not None:
            try:
                async with broker_border("unbind"):
                    await self._queue.unbind(exchange, routing_key)
            except BrokerLostError as error:
                self._on_failure(error)

    async def mend(self, connection: AbstractConnection) -> bool:
        """Put back exchanges and bindings that somebody deleted; False if the queue itself is gone.

        A queue without its consumer counts as gone: only a new connection brings both. Raises BrokerLostError.
        """
        if self._queue is None:
            return True
        try:
            async with (
                broker_border("the check of the inbox", timeout_s=MEND_TIMEOUT_S),
                connection.channel(publisher_confirms=False) as channel,
            ):
                for exchange, kind in self._exchanges.items():
                    await channel.declare_exchange(exchange, type=kind, durable=True)
                queue = await channel.declare_queue(self._name, passive=True)
                for binding in tuple(self._bindings):
                    if binding in self._bindings:  # `unbind` goes on meanwhile
                        await queue.bind(*binding)
                return bool(queue.declaration_result.consumer_count)
        except BrokerLostError as error:
            if isinstance(error.__cause__, ChannelNotFoundEntity):
                return False
            raise

    def _on_failure(self, error: BaseException) -> None:
        # The queue is exclusive: it went with its connection, and `declare` binds the next one anew.
        _log.debug("binding waits for the broker", extra={"action": "bind_waits", "reason": repr(error)})
