"""RabbitMQ as far as the lease protocol leans on it, in memory and without a clock of its own.

Exclusive queues and their bindings vanish with their connection, in the same instant after which nothing of that
connection is taken. A queue with a single active consumer has one, and gives what was not acknowledged to the next.
A mandatory message that no queue takes comes back. A stream keeps everything, in order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lease_protocol.wire import Wire
    from tests.lease_protocol.world import World


class RefusedError(Exception):
    """The broker closes the channel: `code` is AMQP's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(slots=True)
class Letter:
    """A message in the broker."""

    body: bytes
    correlation_id: str | None = None
    reply_to: str | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    message_id: str | None = None
    type: str | None = None
    expires_at: float | None = None


@dataclass(eq=False, slots=True)
class Consumer:
    """One consumer of one queue; `deliver(tag, letter)` sends to its process."""

    session: Session
    deliver: Callable[[int, Letter], None]
    limit: int
    no_ack: bool
    unacked: dict[int, Letter] = field(default_factory=dict)


class Queue:
    """A classic or quorum queue. Only its first consumer is served: no other queue here ever has two."""

    def __init__(self, broker: MemoryBroker, name: str, *, owner: Session | None, is_sink: bool) -> None:
        self._broker = broker
        self.name = name
        self.owner = owner
        self._is_sink = is_sink
        self.ready: deque[Letter] = deque()
        self.consumers: list[Consumer] = []
        self._next_tag = 1

    def put(self, letter: Letter) -> None:
        if not self._is_sink:
            self.ready.append(letter)
            self.pump()

    def pump(self) -> None:
        """Deliver what the first consumer takes; there is never more than one that counts."""
        now = self._broker.world.now
        while self.ready and self.consumers:
            consumer = self.consumers[0]
            if len(consumer.unacked) >= consumer.limit:
                return
            letter = self.ready.popleft()
            if letter.expires_at is not None and now >= letter.expires_at:
                continue
            tag, self._next_tag = self._next_tag, self._next_tag + 1
            if not consumer.no_ack:
                consumer.unacked[tag] = letter
            consumer.deliver(tag, letter)

    def leave(self, session: Session) -> None:
        """The consumers of a connection are gone; what they had not acknowledged is delivered again."""
        for consumer in [one for one in self.consumers if one.session is session]:
            self.consumers.remove(consumer)
            returned = list(consumer.unacked.values())
            if self._broker.requeues_behind:
                self.ready.extend(returned)
            else:
                self.ready.extendleft(reversed(returned))
        self.pump()


class Stream(Queue):
    """An append-only log with readers."""

    def __init__(self, broker: MemoryBroker, name: str) -> None:
        super().__init__(broker, name, owner=None, is_sink=False)
        self.log: list[Letter] = []

    def put(self, letter: Letter) -> None:
        self.log.append(letter)
        for consumer in self.consumers:
            self._send(consumer, len(self.log) - 1)

    def read_from(self, consumer: Consumer, offset: int) -> None:
        for at in range(offset, len(self.log)):
            self._send(consumer, at)

    def _send(self, consumer: Consumer, offset: int) -> None:
        consumer.deliver(offset, replace(self.log[offset], headers={"x-stream-offset": offset}))

    def leave(self, session: Session) -> None:
        self.consumers = [one for one in self.consumers if one.session is not session]


class Session:
    """The broker's side of one connection."""

    def __init__(self, broker: MemoryBroker, wire: Wire) -> None:
        self.broker = broker
        self.wire = wire
        broker.sessions.append(self)

    def on_end(self) -> None:
        self.broker.forget(self)


class MemoryBroker:
    """All queues, exchanges and bindings. `requeues_behind`: what comes back goes to the end of its queue."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.is_up = True
        self.requeues_behind = False
        self.confirm_delay_s = 0.0
        self.sessions: list[Session] = []
        self.queues: dict[str, Queue] = {}
        self.exchanges: dict[str, str] = {}
        self.bindings: set[tuple[str, str, str]] = set()
        self._name_count = 0

    # Life

    def forget(self, session: Session) -> None:
        """The connection is gone, and with it all that was exclusive to it."""
        if session not in self.sessions:
            return
        self.sessions.remove(session)
        for queue in [one for one in self.queues.values() if one.owner is session]:
            self._delete(queue)
        for queue in list(self.queues.values()):
            queue.leave(session)

    def _delete(self, queue: Queue) -> None:
        del self.queues[queue.name]
        self.bindings = {binding for binding in self.bindings if binding[2] != queue.name}

    def stop(self) -> None:
        """Every connection is gone; durable things stay."""
        self.is_up = False
        for session in list(self.sessions):
            session.wire.cut()

    # What connections ask

    def declare_queue(
        self, session: Session, name: str, *, exclusive: bool, passive: bool, arguments: dict[str, Any]
    ) -> str:
        """Declare; raises RefusedError for a queue of another connection, or a missing one if `passive`."""
        if not name:
            self._name_count += 1
            name = f"amq.gen-{self._name_count}"
        queue = self.queues.get(name)
        if queue is not None:
            if queue.owner is not None and queue.owner is not session:
                raise RefusedError(405, f"RESOURCE_LOCKED - queue '{name}'")
            return name
        if passive:
            raise RefusedError(404, f"NOT_FOUND - no queue '{name}'")
        if arguments.get("x-queue-type") == "stream":
            self.queues[name] = Stream(self, name)
            return name
        self.queues[name] = Queue(
            self,
            name,
            owner=session if exclusive else None,
            is_sink=arguments.get("x-max-length") == 1,
        )
        return name

    def declare_exchange(self, name: str, kind: str, *, passive: bool = False) -> None:
        if passive:
            if name not in self.exchanges:
                raise RefusedError(404, f"NOT_FOUND - no exchange '{name}'")
            return
        if self.exchanges.setdefault(name, kind) != kind:
            raise RefusedError(406, f"PRECONDITION_FAILED - exchange '{name}'")

    def bind(self, queue: str, exchange: str, key: str) -> None:
        if queue not in self.queues or exchange not in self.exchanges:
            raise RefusedError(404, f"NOT_FOUND - '{queue}' or '{exchange}'")
        self.bindings.add((exchange, key, queue))

    def unbind(self, queue: str, exchange: str, key: str) -> None:
        self.bindings.discard((exchange, key, queue))

    def consumer_count(self, queue_name: str) -> int:
        queue = self.queues.get(queue_name)
        return 0 if queue is None else len(queue.consumers)

    def consume(self, queue_name: str, consumer: Consumer, offset: int) -> None:
        queue = self.queues.get(queue_name)
        if queue is None:
            raise RefusedError(404, f"NOT_FOUND - no queue '{queue_name}'")
        queue.consumers.append(consumer)
        if isinstance(queue, Stream):
            queue.read_from(consumer, offset)
        else:
            queue.pump()

    def ack(self, queue_name: str, consumer: Consumer, tag: int, *, multiple: bool) -> None:
        for settled in [one for one in consumer.unacked if one == tag or (multiple and one < tag)]:
            del consumer.unacked[settled]
        queue = self.queues.get(queue_name)
        if queue is not None and not isinstance(queue, Stream):
            queue.pump()

    def publish(self, session: Session, exchange: str, key: str, letter: Letter) -> bool:
        """Take a message; whether any queue takes it. Raises RefusedError for a missing exchange."""
        if exchange and exchange not in self.exchanges:
            raise RefusedError(404, f"NOT_FOUND - no exchange '{exchange}'")
        self.world.judge.on_taken(session.wire, exchange, key, letter)
        if key == self.world.names.coordinator and letter.reply_to is not None:
            self.world.requests.append(letter)
        queues = self._routes(exchange, key)
        for queue in queues:
            queue.put(letter)
        return bool(queues)

    def _routes(self, exchange: str, key: str) -> list[Queue]:
        if not exchange:
            return [self.queues[key]] if key in self.queues else []
        names = sorted(queue for bound, bound_key, queue in self.bindings if bound == exchange and bound_key == key)
        return [self.queues[name] for name in names]
