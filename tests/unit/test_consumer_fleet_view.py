"""What the shard proxies say about their shards."""

from __future__ import annotations

import asyncio
import math

from consumers.fleet_view import FleetView
from eventbus.errors import RpcTimeoutError
from eventbus.messages import BotConfig, FleetState, ShardStatus


def status(shard: int, *, worker_id: str | None, state: str, latency_s: float | None) -> ShardStatus:
    return ShardStatus(
        shard=shard, worker_id=worker_id, fencing_token=1, state=state, session_id=None, seq=None, latency_s=latency_s
    )


class Coordinator:
    """Answers once as told, then is gone."""

    def __init__(self, *shards: ShardStatus) -> None:
        self._shards = shards
        self.asked = asyncio.Event()

    async def state(self) -> FleetState:
        self.asked.set()
        if not self._shards:
            raise RpcTimeoutError("gone")
        return FleetState(
            coordinator_id="c",
            config=BotConfig(shard_count=3, intents=0, gateway_url="ws://x", max_concurrency=1),
            identifies_remaining=1,
            identifies_total=1,
            identifies_reset_after_s=1,
            shards=self._shards,
            workers=(),
        )


async def view_of(*shards: ShardStatus) -> FleetView:
    coordinator = Coordinator(*shards)
    view = FleetView(coordinator)
    keeping = asyncio.create_task(view.keep())
    await coordinator.asked.wait()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    return view


async def test_a_connected_shard_is_known_with_its_latency() -> None:
    view = await view_of(status(0, worker_id="w", state="connected", latency_s=0.25))
    assert (view.is_held(0), view.is_connected(0), view.latency_s(0)) == (True, True, 0.25)


async def test_a_shard_without_a_holder_is_not_alive() -> None:
    view = await view_of(status(0, worker_id=None, state="unknown", latency_s=None))
    assert (view.is_held(0), view.is_connected(0)) == (False, False)
    assert math.isnan(view.latency_s(0))


async def test_without_a_coordinator_nothing_is_known_and_nothing_is_called_dead() -> None:
    view = await view_of()
    assert (view.is_held(0), view.is_connected(0)) == (True, False)
    assert math.isnan(view.latency_s(0))
