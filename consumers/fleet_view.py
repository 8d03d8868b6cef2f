"""How the shards are, as their holders tell everyone: who is connected, and how fast."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, NamedTuple, Protocol

from eventbus.errors import RelayError
from eventbus.messages import ShardsStatus, WorkerDead

if TYPE_CHECKING:
    from eventbus.messages import ControlEvent, FleetState

_log = logging.getLogger(__name__)

ASK_INTERVAL_S = 10.0
STALE_AFTER_S = 16.0
"""Workers tell every 5 s."""
CONNECTED = "connected"


class StateSource(Protocol):
    """Who knows what the fleet is doing: the coordinator."""

    async def state(self) -> FleetState:
        """The newest state. Raises RelayError."""


class _Known(NamedTuple):
    """`worker_id` is None if nobody holds the shard."""

    worker_id: str | None
    fencing_token: int
    state: str
    latency_s: float | None
    learned_at: float


class FleetView:
    """The shards' states. Workers tell them; while a shard is silent, or nobody holds it, the coordinator is asked."""

    def __init__(self, coordinator: StateSource) -> None:
        self._coordinator = coordinator
        self._shards: dict[int, _Known] = {}

    async def keep(self) -> None:
        """Ask for what no worker tells, for ever."""
        while True:
            now = _now()
            if not self._shards or any(
                known.worker_id is None or _is_stale(known, now) for known in self._shards.values()
            ):
                try:
                    self._learn(await self._coordinator.state())
                except RelayError as error:
                    _log.debug("fleet state unknown", extra={"action": "fleet_unknown", "reason": str(error)})
            await asyncio.sleep(ASK_INTERVAL_S)

    def hear(self, event: ControlEvent) -> None:
        """Take what is told to everyone; what does not concern shards is left."""
        if isinstance(event, ShardsStatus):
            self._hear_status(event)
        elif isinstance(event, WorkerDead):
            self._lose(event.worker_id, ())

    def _hear_status(self, status: ShardsStatus) -> None:
        now = _now()
        for live in status.shards:
            known = self._shards.get(live.shard)
            if known is None or known.fencing_token <= live.fencing_token:
                self._shards[live.shard] = _Known(status.worker_id, live.fencing_token, live.state, live.latency_s, now)
        self._lose(status.worker_id, [live.shard for live in status.shards])

    def _lose(self, worker_id: str, but_not: list[int] | tuple[int, ...]) -> None:
        for shard, known in self._shards.items():
            if known.worker_id == worker_id and shard not in but_not:
                self._shards[shard] = known._replace(worker_id=None, state="", latency_s=None, learned_at=_now())

    def _learn(self, state: FleetState) -> None:
        now = _now()
        for status in state.shards:
            known = self._shards.get(status.shard)
            if known is None or known.worker_id is None or _is_stale(known, now):
                self._shards[status.shard] = _Known(
                    status.worker_id, status.fencing_token, status.state, status.latency_s, now
                )

    def _fresh(self, shard: int) -> _Known | None:
        known = self._shards.get(shard)
        return None if known is None or _is_stale(known, _now()) else known

    def latency_s(self, shard: int) -> float:
        """The shard's last heartbeat latency; NaN if unknown."""
        known = self._fresh(shard)
        return math.nan if known is None or known.latency_s is None else known.latency_s

    def is_held(self, shard: int) -> bool:
        """Whether a worker runs the shard, as far as is known: True if nothing is known."""
        known = self._fresh(shard)
        return known is None or known.worker_id is not None

    def is_connected(self, shard: int) -> bool:
        """Whether the shard is known to be connected to Discord."""
        known = self._fresh(shard)
        return known is not None and known.worker_id is not None and known.state == CONNECTED


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_stale(known: _Known, now: float) -> bool:
    return now - known.learned_at > STALE_AFTER_S
