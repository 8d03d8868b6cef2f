"""One process of ours: its own event loop, its connections, its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from eventbus.errors import RelayError
from tests.lease_protocol.judge import ViolationError
from tests.lease_protocol.memory_aio_pika import MemoryConnection, connect
from tests.lease_protocol.publishing_server import PublishingServer, WireTransport
from tests.lease_protocol.virtual_loop import VirtualLoop
from tests.lease_protocol.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from coordinator.service import CoordinatorService
    from eventbus.amqp.broker import Broker
    from gateway_workers.worker import Worker
    from tests.lease_protocol.memory_discord import MemorySocket
    from tests.lease_protocol.world import World

CONNECT_TIMEOUT_S = 10.0


class Process:
    """One process of ours."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.is_alive = True
        self.is_frozen = False
        self.is_isolated = False
        self.loop = VirtualLoop(self)
        self.wires: list[Wire] = []
        self.sockets: list[MemorySocket] = []
        self.stop = asyncio.Event()
        self.worker: Worker | None = None
        self.worker_id = ""
        self.service: CoordinatorService | None = None
        self.main: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self.is_alive and not self.is_frozen

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.main = self.loop.create_task(work)

    def turn(self) -> None:
        """Let it do what is due; when its work has ended, it is gone."""
        self.loop.turn()
        if self.main is not None and self.main.done() and self.is_alive:
            error = None if self.main.cancelled() else self.main.exception()
            self.world.tell(f"{self.name} ends: {error!r}")
            self.die()
            if error is not None and not _is_expected(error):
                raise ViolationError(f"{self.name} crashed: {error!r}") from error

    def die(self) -> None:
        """Its sockets close; nothing of it runs on."""
        if not self.is_alive:
            return
        for wire in self.wires:
            wire.close_here()
        for socket in self.sockets:
            socket.end(None)
        self.is_alive = False
        self.world.graves.append(self.loop)

    # Its connections

    async def _reach(self) -> None:
        deadline = self.world.now + CONNECT_TIMEOUT_S
        while self.is_isolated:
            if self.world.now >= deadline:
                raise OSError("no route")
            await asyncio.sleep(0.5)
        await asyncio.sleep(0.001)
        if not self.world.broker.is_up:
            raise ConnectionRefusedError("the broker is down")

    async def connect_publishing(self, protocol_factory: Any) -> tuple[Any, Any]:
        await self._reach()
        wire = Wire(self, kind="publishing", heartbeat_s=5.0)
        self._keep(wire)
        wire.broker = PublishingServer(self.world.broker, wire)
        protocol = protocol_factory()
        transport = WireTransport(wire, protocol)
        wire.client = transport
        protocol.connection_made(transport)
        return transport, protocol

    async def connect_control(self, broker: Broker) -> MemoryConnection:
        try:
            await self._reach()
            wire = Wire(self, kind="control", heartbeat_s=10.0)
            self._keep(wire)
            return await connect(wire, self.world.broker)
        except OSError as error:
            raise broker.unreachable(error) from error

    def _keep(self, wire: Wire) -> None:
        self.wires = [one for one in self.wires if one.is_open_here or one.is_open_there] + [wire]

    def wires_of(self, kind: str) -> list[Wire]:
        return [wire for wire in self.wires if wire.kind == kind and (wire.is_open_here or wire.is_open_there)]


def _is_expected(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_expected(one) for one in error.exceptions)
    return isinstance(error, RelayError | asyncio.CancelledError)
