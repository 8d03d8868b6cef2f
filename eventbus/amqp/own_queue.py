"""One consumer's own queue: copies of the dispatches that it waits for, bound and unbound while it runs."""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import TYPE_CHECKING

from eventbus.amqp.border import broker_border
from eventbus.amqp.consume_connection import ensure_open
from eventbus.amqp.deliveries import Delivery
from eventbus.errors import BrokerLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamqp.common import FieldTable

    from eventbus.amqp.consume_connection import ConsumeConnection, Tagged
    from eventbus.amqp.link import DeliveryLink
    from eventbus.names import Names

_log = logging.getLogger(__name__)

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
        link: DeliveryLink,
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
        self._connection: ConsumeConnection | None = None
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
            if refusals := await self._bind(again=again):
                raise BrokerLostError("; ".join(refusals))

    async def _set_up(self, connection: ConsumeConnection) -> None:
        async with self._lock:
            await self._declare(connection)
            for refusal in await self._bind(again=False):
                _log.warning("what is waited for does not come", extra={"action": "bind_refused", "reason": refusal})

    async def _declare(self, connection: ConsumeConnection) -> None:
        self._connection, self._bound, self._declared = connection, set(), set()
        connection.closed.add_done_callback(lambda _: self._on_gone(connection))
        await connection.declare_own_queue(self._name, ARGUMENTS)
        on_cancel = functools.partial(self._on_gone, connection)
        await connection.consume(self._name, self._on_message, on_cancel=on_cancel)
        self._is_lost = False

    def _on_gone(self, connection: ConsumeConnection) -> None:
        if connection is self._connection:
            self._is_lost = True
            self._on_loss()

    def _on_message(self, tagged: Tagged) -> None:
        self._take(Delivery(self._name, tagged.message))

    async def _bind(self, *, again: bool) -> list[str]:
        """One after another; what comes to be wanted meanwhile, too. What was refused, which the next `sync` tries."""
        if again:
            self._declared.clear()
        connection = ensure_open(self._connection)
        refusals: dict[str, str] = {}
        while self._missing() - refusals.keys() or self._bound - self._wanted():
            for event_type in sorted(self._missing() - refusals.keys()):
                refusal = await self._bind_one(connection, event_type)
                if refusal is not None:
                    refusals[event_type] = refusal
            for event_type in sorted(self._bound - self._wanted()):
                await connection.unbind(self._name, self._names.event(event_type), "#")
                self._bound.discard(event_type)
        return list(refusals.values())

    def _missing(self) -> frozenset[str]:
        return self._wanted() - (self._declared & self._bound)

    async def _bind_one(self, connection: ConsumeConnection, event_type: str) -> str | None:
        """None, or why it is refused: a foreign exchange, or one that was deleted."""
        exchange = self._names.event(event_type)
        refusal = None
        if event_type not in self._declared:
            refusal = await connection.declare_event_exchange(exchange)
        refusal = refusal or await connection.try_bind(self._name, exchange, "#")
        if refusal is not None:
            self._declared.discard(event_type)
            return f"the own queue was not bound to {exchange}: {refusal}"
        self._declared.add(event_type)
        self._bound.add(event_type)
        return None
