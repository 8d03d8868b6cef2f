"""What the coordinator last said about the shards: who is connected, and how fast."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Protocol

from eventbus.errors import RelayError

if TYPE_CHECKING:
    from eventbus.messages import FleetState, ShardStatus

_log = logging.getLogger(__name__)

REFRESH_INTERVAL_S = 15.0
STALE_AFTER_S = 50.0
CONNECTED = "connected"


class StateSource(Protocol):
    """Who knows what the fleet is doing: the coordinator."""

    async def state(self) -> FleetState:
        """The newest state. Raises RelayError."""


class FleetView:
    """The shards' states, refreshed now and then. Nothing is known while no coordinator answers."""

    def __init__(self, coordinator: StateSource) -> None:
        self._coordinator = coordinator
        self._shards: dict[int, ShardStatus] = {}
        self._learned_at = -math.inf

    async def keep(self) -> None:
        """Refresh for ever."""
        while True:
            try:
                self._learn(await self._coordinator.state())
            except RelayError as error:
                _log.debug("fleet state unknown", extra={"action": "fleet_unknown", "reason": str(error)})
            await asyncio.sleep(REFRESH_INTERVAL_S)

    def _learn(self, state: FleetState) -> None:
        self._shards = {status.shard: status for status in state.shards}
        self._learned_at = asyncio.get_running_loop().time()

    def _status(self, shard: int) -> ShardStatus | None:
        if asyncio.get_running_loop().time() - self._learned_at > STALE_AFTER_S:
            return None
        return self._shards.get(shard)

    def latency_s(self, shard: int) -> float:
        """The shard's last heartbeat latency; NaN if unknown."""
        status = self._status(shard)
        return math.nan if status is None or status.latency_s is None else status.latency_s

    def is_held(self, shard: int) -> bool:
        """Whether a worker runs the shard, as far as is known: True if nothing is known."""
        status = self._status(shard)
        return status is None or status.worker_id is not None

    def is_connected(self, shard: int) -> bool:
        """Whether the shard is known to be connected to Discord."""
        status = self._status(shard)
        return status is not None and status.state == CONNECTED
