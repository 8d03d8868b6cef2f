"""What a worker has on the broker: its proof of life, the stream, the exchanges it publishes to.

Whatever somebody deletes comes back: at once where a publish fails for it, else at the next check.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING

from eventbus import messages
from eventbus.amqp.session_stream import STREAM_ARGUMENTS
from eventbus.names import EVENT_TYPE_PATTERN

if TYPE_CHECKING:
    from eventbus.amqp.publish_topology import PublishTopology
    from eventbus.names import Names

_log = logging.getLogger(__name__)

REFUSED_RETRY_S = 30.0
BINDINGS_PER_CHECK = 16
MAX_REFUSED_NAMES = 100


class EventTypeRefusedError(ValueError):
    """Dispatches of a type cannot be published; the message says why and what to do."""


class WorkerTopology:
    """Set up anew on every connection.

    `declared` are the event types that have an exchange; `restored` are those of them whose exchange was gone and came
    back; `lost_exchanges` are those that cannot come back: what waits for them cannot be published.
    """

    def __init__(self, names: Names, *, worker_id: str) -> None:
        self._names = names
        self._proof_queue = names.worker(worker_id)
        self._held: set[int] = set()
        self._unbind_due: set[int] = set()
        self.declared: set[str] = set()
        self._refused_until: dict[str, float] = {}
        self._check_count = 0
        self.restored: set[str] = set()
        self.lost_exchanges: set[str] = set()

    async def set_up(self, on: PublishTopology) -> None:
        """Declare and bind everything on a new connection. Raises BrokerLostError."""
        await on.declare_proof_queue(self._proof_queue)
        self._unbind_due.clear()  # the queue is new
        await on.declare_exchange(self._names.holder, "direct")
        await on.declare_stream(self._names.sessions, STREAM_ARGUMENTS)
        await self._declare_again(on)
        await self._bind_held(on)

    async def check(self, on: PublishTopology) -> None:
        """Put back what is gone; without its proof of life the connection ends. Raises BrokerLostError."""
        await on.prove(self._proof_queue)
        await on.declare_exchange(self._names.holder, "direct")
        await on.declare_stream(self._names.sessions, STREAM_ARGUMENTS)
        await self._unbind_what_is_due(on)
        held = sorted(self._held)
        if held and not await on.is_bound(self._names.holder, str(held[0]), self._proof_queue):
            # The exchange was deleted, whoever declared it again: all bindings went with it.
            _log.warning("proofs of holding were gone", extra={"action": "proofs_restored", "shards": len(held)})
            await self._bind_held(on)
            return
        self._check_count += 1
        start = self._check_count * BINDINGS_PER_CHECK % max(len(held), 1)
        for shard in itertools.islice(itertools.cycle(held), start, start + min(len(held), BINDINGS_PER_CHECK)):
            if shard in self._held:
                await self._bind(on, shard)

    async def prove(self, on: PublishTopology) -> None:
        """Have the broker say that it knows us. Raises BrokerLostError, and the connection is gone then."""
        await on.prove(self._proof_queue)

    # Event exchanges

    async def declare(self, on: PublishTopology, event_type: str) -> None:
        """Declare the exchange of `event_type` if need be. Raises EventTypeRefusedError or BrokerLostError."""
        if EVENT_TYPE_PATTERN.fullmatch(event_type) is None:
            raise EventTypeRefusedError(self._refuse_name(event_type))
        if event_type in self.declared:
            return
        now = asyncio.get_running_loop().time()
        if now < self._refused_until.get(event_type, 0.0):
            raise EventTypeRefusedError(f"dispatches of {event_type} are refused for now")
        refusal = await on.declare_event_exchange(self._names.event(event_type))
        if refusal is not None:
            raise EventTypeRefusedError(self._refuse(event_type, refusal))
        self.declared.add(event_type)

    def _refuse_name(self, event_type: str) -> str:
        reason = f"{event_type!r} is not the name of a gateway event"
        if event_type not in self._refused_until and len(self._refused_until) < MAX_REFUSED_NAMES:
            self._refused_until[event_type] = 0.0
            _log.warning("dispatch refused", extra={"action": "dispatch_refused", "reason": reason[:200]})
        return reason

    def _refuse(self, event_type: str, refusal: str) -> str:
        exchange = self._names.event(event_type)
        reason = (
            f"RabbitMQ refuses the exchange {exchange!r}: {refusal}. Delete it, or give the worker's user the right"
        )
        if event_type not in self._refused_until:
            _log.warning("event type refused", extra={"action": "type_refused", "type": event_type, "reason": reason})
        self._refused_until[event_type] = asyncio.get_running_loop().time() + REFUSED_RETRY_S
        self.declared.discard(event_type)
        self.restored.discard(event_type)
        self.lost_exchanges.add(exchange)
        return reason

    def _event_type(self, exchange: str) -> str | None:
        event_type = exchange.removeprefix(self._names.event(""))
        return event_type if event_type in self.declared else None

    def on_missing(self, exchange: str) -> None:
        """The broker said that it does not know `exchange`."""
        event_type = self._event_type(exchange)
        if event_type is not None:
            self.restored.add(event_type)

    def on_forbidden(self, exchange: str, reason: str) -> None:
        """The broker said that `exchange` takes nothing from us."""
        event_type = self._event_type(exchange)
        if event_type is not None:
            self._refuse(event_type, reason)

    async def _declare_again(self, on: PublishTopology) -> None:
        for event_type in tuple(self.declared):
            exchange = self._names.event(event_type)
            if not await on.has_exchange(exchange):
                self.restored.add(event_type)
                refusal = await on.declare_event_exchange(exchange)
                if refusal is not None:
                    self._refuse(event_type, refusal)
        if self.restored:
            await self._announce_restored(on)

    async def _announce_restored(self, on: PublishTopology) -> None:
        """Tell the consumers, whose bindings went with the exchange; soon, since other workers publish to it too."""
        await on.declare_exchange(self._names.control, "topic")
        for event_type in self.restored:
            event = messages.ExchangeRestored(event_type=event_type)
            on.announce(self._names.control, event.kind, messages.encode(event))
            _log.warning("exchange restored", extra={"action": "exchange_restored", "type": event_type})

    # The proof of life

    async def _bind_held(self, on: PublishTopology) -> None:
        bound: set[int] = set()
        while bound != self._held:  # `hold` and `let_go` go on meanwhile
            for shard in self._held - bound:
                await self._bind(on, shard)
                bound.add(shard)
            for shard in bound - self._held:
                await self._unbind(on, shard)
                bound.discard(shard)

    async def hold(self, on: PublishTopology | None, shard: int) -> None:
        """Let the broker vouch that we can publish for `shard`, from now on and after every reconnect."""
        self._held.add(shard)
        self._unbind_due.discard(shard)
        if on is not None:
            await self._bind(on, shard)

    async def let_go(self, on: PublishTopology | None, shard: int) -> None:
        """End what `hold` began: now, or with one of the next checks if this raises BrokerLostError."""
        self._held.discard(shard)
        if on is not None:
            await self._unbind(on, shard)

    async def _unbind_what_is_due(self, on: PublishTopology) -> None:
        while self._unbind_due:
            await self._unbind(on, self._unbind_due.pop())

    async def _bind(self, on: PublishTopology, shard: int) -> None:
        await on.bind(self._proof_queue, self._names.holder, str(shard))

    async def _unbind(self, on: PublishTopology, shard: int) -> None:
        try:
            await on.unbind(self._proof_queue, self._names.holder, str(shard))
        except BaseException:
            if shard not in self._held:  # `hold` goes on meanwhile
                self._unbind_due.add(shard)
            raise
