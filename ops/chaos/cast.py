"""Who is on stage: places for workers, consumers and coordinators, each filled by one process after another."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops.fleet import program
from ops.supervisor import describe_exit, send_signal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ops.chaos.tcp_proxy import TcpProxy
    from ops.supervisor import Child, Supervisor

STOP_TIMEOUT_S = 60.0


@dataclass(eq=False)
class Place:
    """A place in the fleet, for example `worker 2`; `child` is the process that fills it now."""

    name: str
    command: str
    arguments: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    child: Child | None = None
    run_count: int = 0
    started_at: float = 0.0
    held: set[int] = field(default_factory=set)
    """Shards that a worker holds, by its own words."""
    link: TcpProxy | None = None
    """The proxy between it and the broker."""
    is_frozen: bool = False
    is_ready: bool = False
    """Whether its process said that it is at work: registered, consuming, able to lead."""

    @property
    def pid(self) -> int | None:
        """Process id, None while nobody fills the place."""
        return None if self.child is None else self.child.pid


class Cast:
    """Starts, kills and replaces processes. It reads their JSON logs to know which worker holds which shard."""

    def __init__(self, supervisor: Supervisor, environment: Mapping[str, str], note: Callable[[str], None]) -> None:
        self._supervisor = supervisor
        self._environment = environment
        self._note = note
        self._by_child: dict[str, Place] = {}
        self.workers: list[Place] = []
        self.consumers: list[Place] = []
        self.coordinators: list[Place] = []
        self.witness: list[Place] = []
        self.leader: Place | None = None
        """The coordinator that leads, by its own words."""
        self.granting_at = 0.0
        """When it said that it grants (seconds since the epoch)."""
        self.actions: Counter[tuple[str, str]] = Counter()
        """Lines of the log by role (`worker`) and action."""
        self._counted: dict[str, Mapping[str, Any]] = {}
        self._killed: set[Child] = set()
        self.bad_ends: list[str] = []
        """Processes that did not end with exit code 0, or not in time, after a SIGTERM."""

    @property
    def places(self) -> list[Place]:
        """Every place."""
        return [*self.coordinators, *self.witness, *self.consumers, *self.workers]

    def add(self, places: list[Place], place: Place) -> None:
        """A new place, filled at once; its environment is added to that of all."""
        places.append(place)
        self.fill(place)

    def fill(self, place: Place) -> None:
        """Start the next process of a place."""
        place.run_count += 1
        place.held.clear()
        place.is_frozen = False
        place.is_ready = False
        place.started_at = time.monotonic()
        name = f"{place.name}.{place.run_count}"
        self._by_child[name] = place
        environment = {**self._environment, **place.environment}
        if place.link is not None:
            environment["AMQP_URL"] = place.link.url
        place.child = self._supervisor.add(name, [program(place.command), *place.arguments], environment)

    def kill(self, place: Place) -> None:
        """SIGKILL; the place stays empty until `fill`."""
        if place.child is not None:
            place.child.stopping.set()
            self._killed.add(place.child)
            send_signal(place.child, signal.SIGKILL)

    async def terminate(self, place: Place) -> None:
        """SIGTERM, and wait for the end; the place stays empty until `fill`."""
        await self._stop([place])

    async def _stop(self, places: Sequence[Place]) -> None:
        running = {place.child: place.is_ready for place in places if place.child and not place.child.ended.is_set()}
        await self._supervisor.stop(running, timeout_s=STOP_TIMEOUT_S)
        for child, was_ready in running.items():
            if not was_ready and child.exit_code == -signal.SIGTERM:
                continue  # it was not even listening to signals yet
            if child.exit_code and child not in self._killed:
                self.bad_ends.append(f"{child.name}, told to stop, ended with {describe_exit(child.exit_code)}")

    def freeze(self, place: Place) -> Child | None:
        """SIGSTOP; the process that was stopped."""
        place.is_frozen = True
        if place.child is not None:
            send_signal(place.child, signal.SIGSTOP)
        return place.child

    def thaw(self, place: Place, child: Child | None) -> None:
        """SIGCONT to the process that `freeze` gave."""
        if place.child is child:
            place.is_frozen = False
        if child is not None:
            send_signal(child, signal.SIGCONT)

    async def stop(self) -> None:
        """Workers first, so that nothing new comes; then consumers, who finish; then coordinators."""
        for places in (self.workers, [*self.consumers, *self.witness], self.coordinators):
            await self._stop(places)

    async def until_filled(self, timeout_s: float) -> bool:
        """Wait until a process runs in every place; False if that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                while not all(place.pid for place in self.places):  # noqa: ASYNC110 - the supervisor restarts them
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return False
        return True

    async def until_ready(self, places: Sequence[Place], timeout_s: float) -> bool:
        """Wait until all of `places` are at work; False if that takes longer."""
        try:
            async with asyncio.timeout(timeout_s):
                while not all(place.is_ready for place in places):  # noqa: ASYNC110 - their logs say so
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return False
        return True

    def on_line(self, name: str, line: str) -> None:
        """Learn from a process's log who is at work, who leads, and which shards it holds."""
        place = self._by_child.get(name)
        if place is None or '"action":"' not in line:
            return
        try:
            entry = json.loads(line)
        except ValueError:
            return
        action = str(entry.get("action"))
        self.actions[place.name.partition(" ")[0], action] += 1
        if action == "deliveries":
            self._counted[name] = entry
        if place.child is not None and place.child.name == name:
            self._learn(place, action, entry)

    def counted(self, counter: str) -> int:
        """The sum of one of the consumers' own counters, as each last said it."""
        return sum(int(entry.get(counter, 0)) for entry in self._counted.values())

    def _learn(self, place: Place, action: str, entry: Mapping[str, Any]) -> None:
        match action:
            case "lease_taken":
                place.held.add(entry["shard"])
            case "lease_lost" | "handed_over":
                place.held.discard(entry["shard"])
            case "registered" | "consuming" | "caught_up":
                place.is_ready = True
            case "leading":
                self.leader = place
            case "granting":
                self.granting_at = time.time()
