"""One TCP connection to the broker: items in order each way, each with a latency. It may stall, be cut or be closed."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tests.lease_protocol.process import Process

LATENCY_S = 0.001
SILENT_HEARTBEATS = 3
"""RabbitMQ cut a frozen client 15 s after its last byte, at a heartbeat of 5 s."""

_END = object()
_BEAT = object()


class ClientEnd(Protocol):
    """What the process does with what arrives; called in its loop."""

    def on_item(self, item: Any) -> None: ...
    def on_beat(self) -> None: ...
    def on_end(self) -> None: ...


class BrokerEnd(Protocol):
    """What the broker does with what arrives."""

    def on_item(self, item: Any) -> None: ...
    def on_end(self) -> None: ...


class _Lane:
    """One direction."""

    def __init__(self, wire: Wire, arrive: Any) -> None:
        self._wire = wire
        self._arrive = arrive
        self._items: deque[Any] = deque()
        self._due_at = 0.0
        self._held_count = 0

    def put(self, item: Any) -> None:
        world = self._wire.process.world
        latency_s = self._wire.latency_s * world.random.uniform(0.5, 1.5)
        self._due_at = max(self._due_at, world.now + latency_s)
        self._items.append(item)
        world.at(self._due_at, self._on_due)

    def _on_due(self) -> None:
        if self._wire.is_stalled:
            self._held_count += 1
        elif self._items:
            self._arrive(self._items.popleft())

    def release(self) -> None:
        count, self._held_count = self._held_count, 0
        for _ in range(count):
            if self._items:
                self._arrive(self._items.popleft())

    def drop(self) -> None:
        self._items.clear()
        self._held_count = 0


class Wire:
    """Between a process and the broker; `kind` is "publishing" or "control"."""

    def __init__(self, process: Process, *, kind: str, heartbeat_s: float) -> None:
        self.process = process
        self.kind = kind
        self.heartbeat_s = heartbeat_s
        self.latency_s = LATENCY_S
        self.is_stalled = False
        self.is_open_here = True
        self.is_open_there = True
        self.client: ClientEnd | None = None
        self.broker: BrokerEnd | None = None
        self._up = _Lane(self, self._at_broker)
        self._down = _Lane(self, self._at_client)
        self._heard_at = process.world.now
        self._watch()

    @property
    def is_ill(self) -> bool:
        """Whether the network does not do what it should."""
        return (self.is_stalled or self.latency_s > LATENCY_S) and (self.is_open_here or self.is_open_there)

    # From the process

    def to_broker(self, item: Any, label: str = "") -> None:
        """Send; bytes of a dead process or a closed socket go nowhere."""
        if self.is_open_here and self.process.is_alive:
            self._up.put(item)
            if label:
                self.process.world.on_label(self.process, f"sent {label}")

    def beat(self) -> None:
        """Send a heartbeat."""
        if self.is_open_here and self.process.is_alive:
            self._up.put(_BEAT)

    def close_here(self) -> None:
        """The process closes its socket, or dies: what it has sent arrives before the end."""
        if self.is_open_here:
            self.is_open_here = False
            self._down.drop()
            self._up.put(_END)

    # From the broker

    def to_client(self, item: Any, label: str = "") -> None:
        """Send to the process."""
        if self.is_open_there:
            self._down.put((item, label))

    def close_there(self) -> None:
        """The broker closes: it takes nothing more from here on."""
        if self.is_open_there:
            self.is_open_there = False
            self._up.drop()
            if self.broker is not None:
                self.broker.on_end()
            self._down.put(_END)

    # From the network

    def cut(self) -> None:
        """Both ends learn at once that the connection is gone; what was under way is lost."""
        self.is_stalled = False
        self._down.drop()
        self.close_there()

    def stall(self) -> None:
        """Nothing passes, and nobody is told."""
        self.is_stalled = True

    def heal(self) -> None:
        """What was held passes, and what comes."""
        self.is_stalled = False
        self._up.release()
        self._down.release()

    # Inside

    def _at_broker(self, item: Any) -> None:
        self._heard_at = self.process.world.now
        if not self.is_open_there:
            return
        if item is _END:
            self.close_there()
        elif item is not _BEAT and self.broker is not None:
            self.broker.on_item(item)

    def _at_client(self, item: Any) -> None:
        client = self.client
        if client is None or not self.is_open_here or not self.process.is_alive:
            return
        if item is _END:
            self.process.loop.call_soon(client.on_end)
        elif item is _BEAT:
            self.process.loop.call_soon(client.on_beat)
        else:
            content, label = item
            self.process.loop.call_soon(client.on_item, content)
            if label:  # a process that freezes by this has the bytes in its socket, unread
                self.process.world.on_label(self.process, f"got {label}")

    def _watch(self) -> None:
        world = self.process.world
        if not self.is_open_there:
            return
        if world.now - self._heard_at >= SILENT_HEARTBEATS * self.heartbeat_s:
            world.tell(f"broker: {self.process.name}'s {self.kind} connection is silent: closed")
            self.close_there()
            return
        self._down.put(_BEAT)
        world.at(world.now + self.heartbeat_s / 2, self._watch)
