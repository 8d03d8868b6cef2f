"""How each fault is done to the running fleet, and undone."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.chaos.schedule import Kind
from ops.errors import BrokerCommandError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ops.broker_node import BrokerNode
    from ops.chaos.cast import Cast, Place
    from ops.chaos.schedule import Strike
    from ops.chaos.tcp_proxy import TcpProxy
    from ops.simulator_client import SimulatorClient

_OF_A_PLACE = re.compile("(.*)_(worker|consumer|coordinator)(_link)?")

LINK_DELAY_S = 0.3
ZOMBIE_POLL_S = 0.5
BROKER_START_TIMEOUT_S = 90.0
DEFAULT_WATERMARK = "0.4"
"""RabbitMQ's own: 40 % of the machine's memory."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A worker was killed at `at` (seconds since the epoch) while it held `shards`."""

    at: float
    shards: frozenset[int]


@dataclass(slots=True)
class Freeze:
    """A worker was frozen from `began_at` to `ended_at` while it held `shards`."""

    began_at: float
    shards: frozenset[int]
    ended_at: float | None = None


@dataclass
class Faults:
    """Does strikes; `strike()` returns when the fault is over and what it ended has been started again."""

    cast: Cast
    simulator: SimulatorClient
    node: BrokerNode | None
    note: Callable[[str], None]
    heartbeat_interval_s: float
    spared_count: int = 0
    kills: list[Kill] = field(default_factory=list)
    freezes: list[Freeze] = field(default_factory=list)

    async def strike(self, strike: Strike) -> None:
        """Do one fault. Raises SimulatorFailedError or BrokerUnavailableError if that is impossible."""
        await asyncio.sleep(strike.offset_s)
        parsed = _OF_A_PLACE.fullmatch(strike.kind.value)
        if parsed is None:
            await self._others()[strike.kind](strike)
            return
        verb, role, link = parsed.groups()
        place = self._place(role, strike.target)
        self.note(f"  {strike.kind}: {place.name}, pid {place.pid}, holds {sorted(place.held)}")
        if not link:
            await self._on_process(verb, place, strike.duration_s)
        elif place.link is not None:
            await _on_link(verb, place.link, strike.duration_s)

    # Processes

    def _place(self, role: str, target: int) -> Place:
        cast = self.cast
        if role != "worker":
            return {"consumer": cast.consumers, "coordinator": cast.coordinators}[role][target]
        spared = cast.workers[len(cast.workers) - self.spared_count :]
        first = [place for place in cast.workers if place.held and place not in spared]
        others = [place for place in cast.workers if not place.held and place not in spared]
        return first[target % len(first)] if first else others[target % len(others)]

    async def _on_process(self, verb: str, place: Place, duration_s: float) -> None:
        match verb:
            case "kill":
                self._note_kill(place)
                self.cast.kill(place)
                await self._refill(place, duration_s)
            case "term":
                await self.cast.terminate(place)
                await self._refill(place, duration_s)
            case _:
                await self._freeze(place, duration_s)

    def _note_kill(self, place: Place) -> None:
        if place in self.cast.workers and place.held:
            self.kills.append(Kill(time.time(), frozenset(place.held)))

    async def _refill(self, place: Place, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        if place.child is not None:
            await place.child.ended.wait()
        if place.pid is None:
            self.cast.fill(place)

    async def _freeze(self, place: Place, duration_s: float) -> None:
        freeze = Freeze(time.time(), frozenset(place.held))
        self.freezes.append(freeze)
        child = self.cast.freeze(place)
        try:
            await asyncio.sleep(duration_s)
        finally:
            self.cast.thaw(place, child)
            freeze.ended_at = time.time()

    # The broker and Discord

    def _others(self) -> dict[Kind, Callable[[Strike], Awaitable[None]]]:
        return {
            Kind.RESTART_BROKER: lambda _: self._own_node().restart(BROKER_START_TIMEOUT_S),
            Kind.KILL_BROKER: self._kill_broker,
            Kind.ALARM: self._alarm,
            Kind.DROP: lambda strike: self.simulator.fault(kind="drop", shard=strike.shard),
            Kind.OP_7: lambda strike: self.simulator.fault(kind="reconnect", shard=strike.shard),
            Kind.OP_7_BEFORE_HELLO: self._op_7_before_hello,
            Kind.OP_9_RESUMABLE: lambda strike: self._op_9(strike, resumable=True),
            Kind.OP_9_NEW_SESSION: lambda strike: self._op_9(strike, resumable=False),
            Kind.CLOSE: self._close,
            Kind.CLOSE_ENDING: self._close,
            Kind.DEAD_RESUME_HOST: self._dead_resume_host,
            Kind.WITHHOLD_ACKS: self._withhold_acks,
            Kind.STALL_DISCORD: self._stall_discord,
        }

    def _own_node(self) -> BrokerNode:
        if self.node is None:
            raise BrokerCommandError("a broker that is not ours cannot be restarted: unset AMQP_URL")
        return self.node

    async def _kill_broker(self, strike: Strike) -> None:
        await self._own_node().kill()
        await asyncio.sleep(strike.duration_s)
        await self._own_node().start(BROKER_START_TIMEOUT_S)

    async def _alarm(self, strike: Strike) -> None:
        """RabbitMQ's memory alarm: whoever publishes is blocked."""
        await self._own_node().ctl("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            await asyncio.sleep(strike.duration_s)
        finally:
            await self._own_node().ctl("set_vm_memory_high_watermark", DEFAULT_WATERMARK)

    async def _op_7_before_hello(self, strike: Strike) -> None:
        await self.simulator.fault(kind="reconnect", before_hello=True, count=2)
        await self.simulator.fault(kind="drop", shard=strike.shard)

    async def _op_9(self, strike: Strike, *, resumable: bool) -> None:
        await self.simulator.fault(kind="invalid_session", shard=strike.shard, resumable=resumable)

    async def _close(self, strike: Strike) -> None:
        await self.simulator.fault(kind="close", shard=strike.shard, code=int(strike.option))

    async def _dead_resume_host(self, strike: Strike) -> None:
        await self.simulator.fault(kind="resume_host", mode=strike.option)
        try:
            await self.simulator.fault(kind="drop", shard=strike.shard)
            await asyncio.sleep(strike.duration_s)
        finally:
            await self.simulator.fault(kind="resume_host", mode="ok")

    async def _withhold_acks(self, strike: Strike) -> None:
        """Until the worker has called the connection a zombie and resumed, two of its heartbeats at most."""
        limit_s = 2 * self.heartbeat_interval_s + 2.0
        before = await self._resume_count(strike.shard)
        await self.simulator.fault(kind="withhold_acks", shard=strike.shard, seconds=limit_s)
        give_up_at = time.monotonic() + limit_s
        while time.monotonic() < give_up_at and await self._resume_count(strike.shard) == before:  # noqa: ASYNC110
            await asyncio.sleep(ZOMBIE_POLL_S)  # only the simulator knows

    async def _stall_discord(self, strike: Strike) -> None:
        await self.simulator.fault(kind="stall", shard=strike.shard, seconds=strike.duration_s)
        await asyncio.sleep(strike.duration_s)

    async def _resume_count(self, shard: int) -> int:
        return sum(session["resumes"] for session in await self.simulator.sessions() if session["shard"] == shard)


async def _on_link(verb: str, link: TcpProxy, duration_s: float) -> None:
    match verb:
        case "cut":
            link.cut()
        case "delay":
            link.delay(LINK_DELAY_S)
            await asyncio.sleep(duration_s)
            link.delay(0.0)
        case "stall":
            link.stall()
            await asyncio.sleep(duration_s)
            link.flow()
        case _:
            link.half_open()
            await asyncio.sleep(duration_s)
            link.end_half_open()
