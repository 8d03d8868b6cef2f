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


@dataclass(frozen=True, slots=True)
class _Limit:
    """Commands that make an alarm, and that bring back RabbitMQ's own limit."""

    alarming: tuple[str, ...]
    usual: tuple[str, ...]


_WATERMARK, _DISK_FREE = "set_vm_memory_high_watermark", "set_disk_free_limit"
_MEMORY_LIMIT = _Limit((_WATERMARK, "absolute", "1MB"), (_WATERMARK, "0.4"))
_DISK_LIMIT = _Limit((_DISK_FREE, "900000GB"), (_DISK_FREE, "50MB"))


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
    struck_shards: set[int] = field(default_factory=set)
    """Shards whose worker, or whose worker's link, was struck: it may not have read all that Discord sent."""
    without_effect: list[Strike] = field(default_factory=list)
    struck_places: list[Place] = field(default_factory=list)

    def begin_round(self) -> None:
        """Forget what was noted of the round before."""
        for noted in (self.kills, self.freezes, self.struck_shards, self.without_effect, self.struck_places):
            noted.clear()

    async def strike(self, strike: Strike) -> None:
        """Do one fault. Raises SimulatorFailedError or BrokerUnavailableError if that is impossible."""
        await asyncio.sleep(strike.offset_s)
        parsed = _OF_A_PLACE.fullmatch(strike.kind.value)
        if parsed is None:
            if await self._others()[strike.kind](strike) == 0:
                self.without_effect.append(strike)
            return
        verb, role, link = parsed.groups()
        place = self._place(role, strike.target)
        if role == "worker":
            self.struck_shards |= place.held
        self.note(f"  {strike.kind}: {place.name}, pid {place.pid}, holds {sorted(place.held)}")
        if not link:
            await self._on_process(verb, place, strike.duration_s)
        elif place.link is not None:
            await _on_link(verb, place.link, strike.duration_s)

    # Processes

    def _place(self, role: str, target: int) -> Place:
        cast = self.cast
        places = {"worker": cast.workers, "consumer": cast.consumers, "coordinator": cast.coordinators}[role]
        candidates = places[: len(places) - self.spared_count] or places
        candidates = [place for place in candidates if place.pid is not None] or candidates
        candidates = [place for place in candidates if place not in self.struck_places] or candidates
        if role == "worker":
            candidates = [place for place in candidates if place.held] or candidates
        place = candidates[target % len(candidates)]
        self.struck_places.append(place)
        return place

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

    def _others(self) -> dict[Kind, Callable[[Strike], Awaitable[int | None]]]:
        """How to do each, and whether it came to nothing (0)."""
        return {
            Kind.RESTART_BROKER: lambda _: self._own_node().restart(BROKER_START_TIMEOUT_S),
            Kind.KILL_BROKER: self._kill_broker,
            Kind.ALARM: lambda strike: self._alarm(strike, _MEMORY_LIMIT),
            Kind.DISK_ALARM: lambda strike: self._alarm(strike, _DISK_LIMIT),
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

    async def _alarm(self, strike: Strike, limit: _Limit) -> None:
        """RabbitMQ's memory or disk alarm: whoever publishes is blocked."""
        await self._own_node().ctl(*limit.alarming)
        try:
            await asyncio.sleep(strike.duration_s)
        finally:
            await self._own_node().ctl(*limit.usual)

    async def _op_7_before_hello(self, strike: Strike) -> None:
        await self.simulator.fault(kind="reconnect", before_hello=True, count=2)
        await self.simulator.fault(kind="drop", shard=strike.shard)

    async def _op_9(self, strike: Strike, *, resumable: bool) -> int:
        return await self.simulator.fault(kind="invalid_session", shard=strike.shard, resumable=resumable)

    async def _close(self, strike: Strike) -> int:
        return await self.simulator.fault(kind="close", shard=strike.shard, code=int(strike.option))

    async def _dead_resume_host(self, strike: Strike) -> None:
        await self.simulator.fault(kind="resume_host", mode=strike.option)
        try:
            await self.simulator.fault(kind="drop", shard=strike.shard)
            await asyncio.sleep(strike.duration_s)
        finally:
            await self.simulator.fault(kind="resume_host", mode="ok")

    async def _withhold_acks(self, strike: Strike) -> int:
        """Until the worker has called the connection a zombie and resumed, two of its heartbeats at most; 0 if not."""
        limit_s = 2 * self.heartbeat_interval_s + 2.0
        before = await self._resume_count(strike.shard)
        await self.simulator.fault(kind="withhold_acks", shard=strike.shard, seconds=limit_s)
        give_up_at = time.monotonic() + limit_s
        while time.monotonic() < give_up_at and await self._resume_count(strike.shard) == before:  # noqa: ASYNC110
            await asyncio.sleep(ZOMBIE_POLL_S)  # only the simulator knows
        return await self._resume_count(strike.shard) - before

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
