"""A fleet of real workers and coordinators on virtual time, with a broker and a Discord in memory, and its faults.

Each process has an event loop of its own. A frozen one gets no turns, while the broker and the clock go on.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from unittest import mock

from coordinator import cli as coordinator_cli
from coordinator.discord_gateway import GatewayInfo
from coordinator.identify_gate import IdentifyLimit
from coordinator.service import CoordinatorService
from coordinator.settings import CoordinatorSettings
from eventbus.names import Names
from gateway_workers import cli as worker_cli
from gateway_workers.settings import WorkerSettings
from gateway_workers.worker import Worker
from tests.lease_protocol.judge import Judge, ViolationError, can_publish
from tests.lease_protocol.memory_broker import MemoryBroker
from tests.lease_protocol.memory_discord import MemoryDiscord, MemorySocket
from tests.lease_protocol.process import Process
from tests.lease_protocol.virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable

    from eventbus.amqp.broker import Broker
    from tests.lease_protocol.memory_aio_pika import MemoryConnection
    from tests.lease_protocol.memory_broker import Letter

WALL_CLOCK_START = 1_700_000_000.0
MAX_TURNS_AT_ONCE = 20_000
EVENT_INTERVAL_S = 0.3
URL = "amqp://guest:guest@broker.test/"


class _Gateway:
    """What `DiscordGateway` is to a coordinator."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def __aenter__(self) -> _Gateway:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def fetch_until(self, *, timeout_s: float) -> GatewayInfo:
        del timeout_s
        return await self.fetch()

    async def fetch(self) -> GatewayInfo:
        limit = IdentifyLimit(total=10_000, remaining=10_000, reset_after_s=86_400.0, max_concurrency=16)
        return GatewayInfo("wss://gateway.discord.gg", self._world.shard_count, limit, self._world.now)


class World:
    """Everything; use it as a context manager. All chance comes from `seed`."""

    def __init__(self, *, shard_count: int = 2, seed: int = 0) -> None:
        self.shard_count = shard_count
        self.now = 0.0
        self.names = Names("gw")
        self.random = random.Random(seed)
        self._seed = seed
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()
        self.trace: list[str] = []
        self.processes: list[Process] = []
        self.traps: list[tuple[str, str, Callable[[Process], None]]] = []
        self.judge = Judge(self)
        self.broker = MemoryBroker(self)
        self.discord = MemoryDiscord(self)
        self._stack = ExitStack()
        self.turn_count = 0
        self.graves: list[VirtualLoop] = []
        self.requests: list[Letter] = []

    def __enter__(self) -> World:
        patches = {
            "eventbus.amqp.link.connect": _connect_control,
            "gateway_workers.cli.aiohttp.ClientSession": mock.MagicMock(),
            "gateway_workers.cli.make_worker_id": str,
            "gateway_workers.cli.Worker": _watched_worker,
            "gateway_workers.shard.GatewaySocket.open": self._open_socket,
            "coordinator.cli.CoordinatorService": _watched_service,
            "coordinator.cli.DiscordGateway": lambda *_: _Gateway(self),
            "time.time": lambda: WALL_CLOCK_START + self.now,
        }
        for target, replacement in patches.items():
            self._stack.enter_context(mock.patch(target, replacement))
        state, level = random.getstate(), logging.root.manager.disable
        self._stack.callback(random.setstate, state)
        self._stack.callback(logging.disable, level)
        logging.disable(logging.CRITICAL)
        random.seed(self._seed)
        self.at(EVENT_INTERVAL_S, self._something_happens)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.die()
        self._bury()
        self._stack.close()

    def _bury(self) -> None:
        while self.graves:
            self.graves.pop().bury()

    async def _open_socket(self, *_: object) -> MemorySocket:
        await asyncio.sleep(0.002)
        return MemorySocket(self.discord, _current())

    def _something_happens(self) -> None:
        for shard in range(self.shard_count):
            self.discord.happen(shard)
        self.at(self.now + EVENT_INTERVAL_S, self._something_happens)

    # Time

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Have `what` done at an instant."""
        heapq.heappush(self._agenda, (when, next(self._counter), what))

    def run(self, duration_s: float) -> None:
        """Let time pass."""
        end = self.now + duration_s
        while True:
            self._do_what_is_due()
            due = self._next_at()
            if due is None or due > end:
                break
            self.now = max(self.now, due)
        self.now = end

    def run_until(self, condition: Callable[[], bool], *, within_s: float) -> bool:
        """Let time pass until `condition()`, looked at each 0.1 s; whether it came."""
        end = self.now + within_s
        while not condition():
            if self.now >= end:
                return False
            self.run(0.1)
        return True

    def _next_at(self) -> float | None:
        times = [at for one in self.processes if one.is_running and (at := one.loop.next_at) is not None]
        if self._agenda:
            times.append(self._agenda[0][0])
        return min(times, default=None)

    def _do_what_is_due(self) -> None:
        for _ in range(MAX_TURNS_AT_ONCE):
            if not self._agenda_turn() and not self._process_turns():
                return
        raise ViolationError("a process spins: time does not go on")

    def _agenda_turn(self) -> bool:
        did = False
        while self._agenda and self._agenda[0][0] <= self.now:
            heapq.heappop(self._agenda)[2]()
            did = True
        self._bury()
        return did

    def _process_turns(self) -> bool:
        did = False
        for process in tuple(self.processes):
            due = process.loop.next_at if process.is_running else None
            if due is not None and due <= self.now:
                process.turn()
                did = True
                self.turn_count += 1
        if did:
            self.judge.check_holders()
        return did

    # What is seen

    def tell(self, text: str) -> None:
        """Note it for whoever reads a failure."""
        self.trace.append(f"{self.now:9.3f} {text}")

    def on_loop_error(self, process: Process, context: dict[str, Any]) -> None:
        self.tell(f"{process.name}: {context.get('message')}: {context.get('exception')!r}")

    def on_label(self, process: Process, label: str) -> None:
        """A message leaves or reaches a process: the moment for a trap."""
        for trap in self.traps:
            name, wanted, action = trap
            if name == process.name and wanted == label and process.is_running:
                self.traps.remove(trap)
                self.tell(f"trap: {name} {label}")
                action(process)
                return

    # Processes

    def start_worker(self, name: str, *, worker_id: str | None = None) -> Process:
        """A gw-worker."""
        settings = WorkerSettings(amqp_url=URL, token="t", worker_id=worker_id or name, namespace="gw")
        process = Process(self, name)
        process.worker_id = worker_id or name
        process.run(worker_cli._work(settings, process.stop))
        return self._add(process)

    def start_coordinator(self, name: str) -> Process:
        """A gw-coordinator."""
        settings = CoordinatorSettings(
            amqp_url=URL, token="t", namespace="gw", shard_count=self.shard_count, rebalance_after_s=2.0
        )
        process = Process(self, name)
        process.run(coordinator_cli._coordinate(settings, []))
        return self._add(process)

    def _add(self, process: Process) -> Process:
        self.processes = [one for one in self.processes if one.is_alive] + [process]
        return process

    def find(self, name: str) -> Process | None:
        """The live process of a name."""
        return next((one for one in self.processes if one.name == name and one.is_alive), None)

    def weight(self, process: Process) -> int:
        """How much a fault of it would matter: shards held, or leading."""
        if process.worker is not None:
            return sum(can_publish(process, shard) for shard in range(self.shard_count))
        queue = self.broker.queues.get(self.names.coordinator)
        return bool(queue and queue.consumers and queue.consumers[0].session.wire.process is process)

    # Faults

    def freeze(self, process: Process) -> None:
        """SIGSTOP."""
        self.tell(f"{process.name} freezes")
        process.is_frozen = True

    def wake(self, process: Process) -> None:
        """SIGCONT."""
        self.tell(f"{process.name} wakes")
        process.is_frozen = False

    def kill(self, process: Process) -> None:
        """SIGKILL."""
        self.tell(f"{process.name} is killed")
        process.die()

    def restart_broker(self, down_s: float) -> None:
        """Stop it; it is back after `down_s`."""
        self.tell(f"the broker stops for {down_s:g} s")
        self.broker.stop()
        self.at(self.now + down_s, self._broker_back)

    def _broker_back(self) -> None:
        self.tell("the broker is back")
        self.broker.is_up = True

    def lose_machine(self, process: Process) -> None:
        """The power goes: nobody tells the broker."""
        self.tell(f"{process.name}'s machine is gone")
        for wire in process.wires:
            wire.stall()
        process.die()

    def part(self, process: Process) -> None:
        """The network between a process and the broker is gone, in silence."""
        self.tell(f"{process.name} is cut off in silence")
        process.is_isolated = True
        for wire in process.wires:
            wire.stall()

    def cut(self, process: Process, kind: str) -> None:
        """One of its connections is reset."""
        self.tell(f"{process.name}'s {kind} connection is cut")
        for wire in process.wires_of(kind):
            wire.cut()

    def stall(self, process: Process, kind: str) -> None:
        """One of its connections is half open."""
        self.tell(f"{process.name}'s {kind} connection stalls")
        for wire in process.wires_of(kind):
            wire.stall()

    def slow(self, process: Process, kind: str, latency_s: float) -> None:
        """One of its connections gets slow."""
        self.tell(f"{process.name}'s {kind} connection takes {latency_s:g} s")
        for wire in process.wires_of(kind):
            wire.latency_s = latency_s

    def double(self, which: int) -> None:
        """A request of the last seconds that has not expired comes once more, behind those that came after it."""
        queue = self.broker.queues.get(self.names.coordinator)
        alive = [one for one in self.requests if one.expires_at is not None and one.expires_at > self.now]
        if queue is not None and alive:
            letter = alive[which % len(alive)]
            self.tell(f"a request comes once more: {letter.body[:60]!r}")
            queue.put(letter)
        self.requests = alive

    def terminate(self, process: Process) -> None:
        """SIGTERM."""
        self.tell(f"{process.name} is asked to stop")
        process.loop.call_soon(process.stop.set)

    def mend(self, process: Process) -> None:
        """Its network is well again."""
        process.is_isolated = False
        for wire in process.wires:
            wire.latency_s = 0.001
            wire.heal()

    def heal(self) -> None:
        """The faults are over."""
        self.traps.clear()
        self.broker.is_up = True
        self.broker.confirm_delay_s = 0.0
        for process in self.processes:
            process.is_frozen = False
            self.mend(process)
        self.tell("healed")


def _current() -> Process:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.process


async def _connect_control(broker: Broker, *, name: str) -> MemoryConnection:
    del name
    return await _current().connect_control(broker)


def _watched_worker(*arguments: Any, **named: Any) -> Worker:
    process = _current()
    process.worker = Worker(*arguments, **named)
    return process.worker


def _watched_service(*arguments: Any, **named: Any) -> CoordinatorService:
    process = _current()
    process.service = CoordinatorService(*arguments, **named)
    return process.service
