"""What the shard proxies say about their shards."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest

from consumers import fleet_view
from consumers.fleet_view import FleetView
from eventbus.errors import RpcTimeoutError
from eventbus.messages import BotConfig, FleetState, LiveShard, ShardsStatus, ShardStatus, WorkerDead

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds that the test sets."""
    now = [1000.0]
    monkeypatch.setattr(fleet_view, "_now", lambda: now[0])
    return now


def status(shard: int, *, worker_id: str | None, state: str, latency_s: float | None) -> ShardStatus:
    return ShardStatus(
        shard=shard, worker_id=worker_id, fencing_token=1, state=state, session_id=None, seq=None, latency_s=latency_s
    )


def told(worker_id: str, *shards: tuple[int, int, str], latency_s: float | None = 0.25) -> ShardsStatus:
    """What a worker tells: (shard, fencing token, state)."""
    live = [
        LiveShard(shard=shard, fencing_token=token, state=state, latency_s=latency_s) for shard, token, state in shards
    ]
    return ShardsStatus(worker_id=worker_id, shards=tuple(live))


class Coordinator:
    """Answers as told, and counts; without shards it is gone."""

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


async def asks(view: FleetView, coordinator: Coordinator) -> bool:
    """Whether the view asks the coordinator in its next turn; it learns the answer."""
    coordinator.asked.clear()
    keeping = asyncio.create_task(view.keep())
    for _ in range(5):
        await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    return coordinator.asked.is_set()


async def view_of(*shards: ShardStatus) -> FleetView:
    coordinator = Coordinator(*shards)
    view = FleetView(coordinator)
    assert await asks(view, coordinator)
    return view


def says(view: FleetView, shard: int = 0) -> tuple[bool, bool, float]:
    return view.is_held(shard), view.is_connected(shard), view.latency_s(shard)


async def test_at_first_the_coordinator_says_how_the_shards_are() -> None:
    assert says(await view_of(status(0, worker_id="w", state="connected", latency_s=0.25))) == (True, True, 0.25)


async def test_a_shard_without_a_holder_is_not_alive() -> None:
    view = await view_of(status(0, worker_id=None, state="unknown", latency_s=None))
    assert says(view)[:2] == (False, False)
    assert math.isnan(view.latency_s(0))


async def test_without_a_coordinator_nothing_is_known_and_nothing_is_called_dead() -> None:
    view = await view_of()
    assert says(view)[:2] == (True, False)
    assert math.isnan(view.latency_s(0))


async def test_what_a_worker_tells_counts_at_once() -> None:
    view = FleetView(Coordinator())
    view.hear(told("w", (0, 5, "connected"), (1, 5, "resuming")))
    assert says(view, 0) == (True, True, 0.25)
    assert says(view, 1)[:2] == (True, False)
    view.hear(told("w", (0, 5, "waiting"), (1, 5, "connected")))
    assert (view.is_connected(0), view.is_connected(1)) == (False, True)


async def test_a_shard_that_its_worker_no_longer_names_has_no_holder() -> None:
    view = FleetView(Coordinator())
    view.hear(told("w", (0, 5, "connected"), (1, 5, "connected")))
    view.hear(told("w", (1, 5, "connected")))
    assert says(view, 0)[:2] == (False, False)
    assert says(view, 1)[:2] == (True, True)


async def test_a_dead_worker_holds_nothing_until_the_next_one_tells() -> None:
    view = FleetView(Coordinator())
    view.hear(told("w", (0, 5, "connected")))
    view.hear(WorkerDead(worker_id="w", shards=(0,)))
    assert says(view)[:2] == (False, False)
    view.hear(told("v", (0, 6, "connected")))
    assert says(view)[:2] == (True, True)


async def test_a_former_holder_is_not_believed() -> None:
    view = FleetView(Coordinator())
    view.hear(told("v", (0, 6, "connected")))
    view.hear(told("w", (0, 5, "waiting")))
    assert view.is_connected(0)
    view.hear(told("w"))
    assert view.is_connected(0)


async def test_while_all_workers_tell_the_coordinator_is_not_asked(clock: list[float]) -> None:
    coordinator = Coordinator(status(0, worker_id="w", state="waiting", latency_s=None))
    view = FleetView(coordinator)
    view.hear(told("w", (0, 5, "connected")))
    assert not await asks(view, coordinator)
    clock[0] += fleet_view.STALE_AFTER_S + 1
    assert not view.is_connected(0), "a silent shard is not called connected"
    assert view.is_held(0), "nor dead"
    assert await asks(view, coordinator)
    assert says(view)[:2] == (True, False)
