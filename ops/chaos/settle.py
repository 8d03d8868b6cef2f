"""Waits until a fleet has settled, and follows its memory meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ops.chaos.memory import MemorySample, resident_bytes
from ops.chaos.stage import is_served

if TYPE_CHECKING:
    from ops.chaos.outcome import Outcome
    from ops.chaos.stage import Stage

SETTLE_TIMEOUT_S = 60.0
POLL_S = 0.25
MEMORY_INTERVAL_S = 2.0


async def settle(
    stage: Stage,
    outcome: Outcome,
    shard_count: int,
    *,
    timeout_s: float = SETTLE_TIMEOUT_S,
    must_be_filled: bool = True,
) -> str | None:
    """Wait until every shard is served, all that was sent is handled and every place is filled; else what is not."""
    judge = stage.judge
    began_at, before = time.monotonic(), time.time()
    give_up_at = began_at + timeout_s
    problem = ""
    while time.monotonic() < give_up_at:
        sessions = await judge.look()
        served = is_served(sessions, shard_count)
        count = judge.awaited(sessions, before=before, given_up=outcome.given_up)
        if served and not count and (not must_be_filled or await stage.cast.until_filled(0.01)):
            outcome.settle_s.append(time.monotonic() - began_at)
            return None
        problem = f"{count} dispatches not handled, all shards served: {served}"
        await asyncio.sleep(POLL_S)
    sessions = await judge.look()
    lost, _ = judge.lost_and_forfeited(sessions)
    outcome.given_up |= lost
    return problem


async def watch_memory(stage: Stage, outcome: Outcome, *, interval_s: float = MEMORY_INTERVAL_S) -> None:
    """Take samples of every process for ever."""
    started_at = time.monotonic()
    while True:
        now = time.monotonic()
        pids = [(place.name, place.pid, now - place.started_at) for place in stage.cast.places]
        pids += [("broker", stage.node.pid if stage.node else None, now - started_at)]
        pids += [("simulator", stage.simulator_pid, now - started_at)]
        for name, pid, age_s in pids:
            size = resident_bytes(pid) if pid else None
            if size is not None:
                outcome.memory.append(MemorySample(name, now - started_at, age_s, size))
        await asyncio.sleep(interval_s)
