"""Restarts and SIGKILLs of the broker, then a minute without one: nothing is lost, memory stays bounded."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eventbus.errors import RelayError
from ops.chaos.faults import BROKER_START_TIMEOUT_S
from ops.chaos.memory import MIB, resident_bytes
from ops.chaos.reliability.bounds import Bound, spread
from ops.chaos.schedule import Size

if TYPE_CHECKING:
    from ops.broker_node import BrokerNode
    from ops.chaos.reliability.scene import Scene
    from ops.chaos.settings import ChaosSettings

FULL_COUNT = 70
KILLS_IN_FULL = 20
"""Of 70 rounds, 20 kill the broker and 50 restart it."""
OUTAGE_S = 60.0
SHORT_OUTAGE_S = 20.0
"""In a run that is shorter than the full one."""
WINDOW_BYTES = 16 * MIB
"""The bound of unconfirmed dispatches: a worker of 1,000 dispatches/s reaches it within the outage."""
OVERHEAD = 1.5
"""What a byte of the window may cost in memory: Python's objects around it, and what its allocator keeps."""
SAMPLE_S = 0.5
MAX_BACKLOG = 3_000
"""With more than that to handle, traffic pauses: 2,000/s is nearly all that two cores can do in all processes."""
SETTLE_S = 240.0


class BrokerOutages:
    """A round is a restart or a kill; the last one is the long outage. 2,000 dispatches/s: 250 on each of 8 shards."""

    bounds = (Bound("worker_over_its_bound_mb", most=0.0), Bound("outages", least=1))

    def __init__(self, count: int, fleet: ChaosSettings) -> None:
        size = Size(shards=8, workers=2, consumers=2, coordinators=2, standbys=0)
        self.settings = replace(
            fleet,
            rate=2 * fleet.rate,
            size=size,
            heartbeat_s=10.0,
            replay_age_s=300.0,
            replay_depth=100_000,
            environment={"GW_WINDOW_BYTES": str(WINDOW_BYTES), "GW_WINDOW_COUNT": "1000000"},
        )
        self._count = count
        self._outage_s = OUTAGE_S if count >= FULL_COUNT else SHORT_OUTAGE_S
        self._done = {"restart": 0, "kill": 0, "outage": 0}
        self._back_s: list[float] = []
        self._paused_s = 0.0
        self._base: dict[str, int] = {}
        self._peak: dict[str, int] = {}
        self._peak_in_outage: dict[str, int] = {}
        self._sampling: asyncio.Task[None] | None = None

    @property
    def is_done(self) -> bool:
        """Whether the outage, which is the last round, is over."""
        return self._done["outage"] > 0

    async def begin(self, scene: Scene) -> None:
        """Some seconds of load, then the memory of the workers as it is without faults."""
        await scene.pause(5.0)
        self._base = _resident(scene)
        self._sampling = asyncio.create_task(self._sample(scene), name="memory of workers")

    async def _sample(self, scene: Scene) -> None:
        while True:
            for name, size in _resident(scene).items():
                self._peak[name] = max(size, self._peak.get(name, 0))
                self._peak_in_outage[name] = max(size, self._peak_in_outage.get(name, 0))
            await asyncio.sleep(SAMPLE_S)

    async def round(self, scene: Scene) -> dict[str, Any]:
        """Take the broker away and bring it back; wait until all that was sent is handled."""
        kind = self._kind()
        self._peak_in_outage.clear()
        await self._strike(scene, kind)
        back_at = time.monotonic()
        await self._drain(scene)
        back_s = time.monotonic() - back_at
        self._done[kind] += 1
        self._back_s.append(back_s)
        return {"fault": kind, "drained_s": round(back_s, 2), "worker_peak_mb": _in_mib(self._peak_in_outage)}

    def _kind(self) -> str:
        number = self._done["restart"] + self._done["kill"]
        if number >= self._count:
            return "outage"
        wanted = (number + 1) * KILLS_IN_FULL // FULL_COUNT  # spread evenly over the restarts
        return "kill" if wanted > self._done["kill"] or self._count == number + 1 == 1 else "restart"

    async def _strike(self, scene: Scene, kind: str) -> None:
        node = _node(scene)
        if kind == "restart":
            await node.restart(BROKER_START_TIMEOUT_S)
        elif kind == "kill":
            await node.kill()
            await node.start(BROKER_START_TIMEOUT_S)
        else:
            await node.stop()
            await scene.pause(self._outage_s)
            await node.start(BROKER_START_TIMEOUT_S)

    async def _drain(self, scene: Scene) -> None:
        """Until the workers publish again, traffic goes on; what waits then is handled without more of it."""
        began_at = time.time()
        await scene.look_until(lambda: _newest(scene) > began_at, "the witness saw new dispatches", timeout_s=SETTLE_S)
        waiting = sum(1 for _ in scene.judge.handlers.missing())
        if waiting <= MAX_BACKLOG:
            await scene.settle(timeout_s=SETTLE_S)
            return
        paused_at = time.monotonic()
        await scene.stage.simulator.stop_traffic()
        await scene.settle(timeout_s=SETTLE_S)
        await scene.start_traffic()
        self._paused_s += time.monotonic() - paused_at
        await scene.pause(1.0)

    async def end(self, _: Scene) -> None:
        """The samples are complete."""
        if self._sampling is not None:
            self._sampling.cancel()

    def figures(self, scene: Scene) -> dict[str, Any]:
        """Memory in MiB; the bound of a worker is what it took without faults and 1.5 times its window."""
        allowed = {name: size + OVERHEAD * WINDOW_BYTES for name, size in self._base.items()}
        over = [self._peak[name] - limit for name, limit in allowed.items() if name in self._peak]
        rules = [violation["rule"] for violation in scene.outcome.verdict.get("violations", ())]
        return {
            "restarts": self._done["restart"],
            "kills": self._done["kill"],
            "outages": self._done["outage"],
            "outage_s": self._outage_s,
            "heartbeats_missed": rules.count("heartbeat_missed"),
            "traffic_paused_s": round(self._paused_s, 1),
            "window_mb": WINDOW_BYTES / MIB,
            "worker_base_mb": _in_mib(self._base),
            "worker_peak_mb": _in_mib(self._peak),
            "worker_bound_mb": {name: round(size / MIB, 1) for name, size in allowed.items()},
            "worker_over_its_bound_mb": round(max(0.0, *over, 0.0) / MIB, 1),
            **spread(self._back_s, "drained", "s", digits=1),
        }


def _node(scene: Scene) -> BrokerNode:
    if scene.stage.node is None:
        raise RelayError("a broker that is not ours cannot be restarted: unset AMQP_URL")
    return scene.stage.node


def _resident(scene: Scene) -> dict[str, int]:
    sizes = {place.name: resident_bytes(place.pid) for place in scene.cast.workers if place.pid}
    return {name: size for name, size in sizes.items() if size is not None}


def _in_mib(sizes: dict[str, int]) -> dict[str, float]:
    return {name: round(size / MIB, 1) for name, size in sorted(sizes.items())}


def _newest(scene: Scene) -> float:
    return scene.witness.newest_sent_at
