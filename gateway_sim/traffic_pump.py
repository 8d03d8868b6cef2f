"""The pump: sends the guilds after READY and the traffic, as fast as asked and as the clients read."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gateway_sim.session_directory import shard_of_guild
from gateway_sim.traffic import Traffic
from gateway_sim.traffic_plan import Pace, Source

if TYPE_CHECKING:
    from gateway_sim.dispatch import Dispatch
    from gateway_sim.gateway_state import GatewayState
    from gateway_sim.session import Session
    from gateway_sim.traffic_plan import TrafficPlan

_BATCH = 32
_BATCH_BYTES = 64 * 1024
_PACE_INTERVAL_S = 0.004
_IDLE_S = 0.5


class TrafficPump:
    """Runs on the loop of the connections; one step sends at most one batch per session or shard."""

    def __init__(self, state: GatewayState) -> None:
        self._state = state
        self._plan: TrafficPlan | None = None
        self._sources: dict[int, Source | None] = {}
        self._layout: int | None = None
        self._left: int | None = None
        self._generated = 0
        self._wake = asyncio.Event()
        self._rng = random.Random(state.settings.seed)

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    def set_plan(self, plan: TrafficPlan | None) -> None:
        """Begin a plan, or stop (None). ValueError if its mix makes no traffic."""
        if plan is not None and self._state.world.guild_ids:
            Traffic(self._state.world, self._state.world.guild_ids[-1:], mix=plan.mix, seed=plan.seed)
        self._plan = plan
        self._sources.clear()
        self._left = plan.total if plan else None
        self._generated = 0
        self.wake()

    def summary(self) -> dict[str, Any]:
        """Return what runs now as JSON for the control API."""
        plan = self._plan
        sources = [source for source in self._sources.values() if source is not None]
        return {
            "running": plan is not None and self._left != 0,
            "rate": None if plan is None else ("max" if plan.rate is None else plan.rate),
            "shard_count": self._layout,
            "generated": self._generated,
            "left": self._left,
            "behind": int(sum(source.pace.dropped for source in sources if source.pace)),
        }

    async def run(self) -> None:
        """Pump until cancelled."""
        while True:
            self._wake.clear()
            busy = self.step()
            if busy:
                await asyncio.sleep(0)
                continue
            if self._plan is not None and self._plan.rate and self._left != 0:
                await asyncio.sleep(_PACE_INTERVAL_S)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_S):
                    await self._wake.wait()

    def step(self) -> bool:
        """Send one round; True if there may be more to send at once."""
        at = time.time()
        busy = False
        for session in [session for session in self._state.sessions.alive() if session.storm is not None]:
            busy |= self._storm(session, at)
        if self._plan is None or self._left == 0:
            return busy
        now = time.monotonic()
        for source in self._current_sources():
            busy |= self._drive(source, now)
        return busy

    # --- the guilds after READY

    def _storm(self, session: Session, at: float) -> bool:
        if session.outlet is not None and not session.outlet.ready_for_more:
            return False
        guilds: list[Dispatch] = []
        size = 0
        while size < _BATCH_BYTES and session.storm is not None:
            guild = next(session.storm, None)
            if guild is None:
                session.storm = None
                break
            guilds.append(guild)
            size += len(guild.data)
        session.offer(guilds, at)
        return True

    # --- traffic

    def _current_sources(self) -> list[Source]:
        counts = self._state.sessions.shard_counts()
        layout = counts[0] if counts else None
        if layout != self._layout:
            self._layout = layout
            self._sources.clear()
        if layout is None:
            return []
        # Building a source takes tenths of a second: one per round, so that heartbeats are answered in between.
        shards = self._state.sessions.shards_of(layout)
        missing = next((shard for shard in shards if self._can_begin(shard, layout)), None)
        if missing is not None:
            self._sources[missing] = self._build(missing, layout)
        return [source for source in self._sources.values() if source is not None]

    def _can_begin(self, shard_id: int, shard_count: int) -> bool:
        sessions = self._state.sessions.of_shard((shard_id, shard_count))
        return shard_id not in self._sources and any(session.live for session in sessions)

    def _build(self, shard_id: int, shard_count: int) -> Source | None:
        plan = self._plan
        guild_ids = self._state.world.guilds_of_shard(shard_id, shard_count)
        if plan is None or not guild_ids or not plan.covers(shard_id):
            return None
        traffic = Traffic(self._state.world, guild_ids, mix=plan.mix, seed=plan.seed)
        pace = None if plan.rate is None else Pace(plan.rate, time.monotonic())
        return Source(shard_id, shard_count, traffic, pace)

    def _drive(self, source: Source, now: float) -> bool:
        sessions = [
            session for session in self._state.sessions.of_shard((source.shard_id, source.shard_count)) if session.live
        ]
        pace = source.pace
        if pace is None:
            wanted = _BATCH if _all_read(sessions) else 0
        else:
            wanted = pace.due(now)
            if not sessions:
                pace.paid(wanted)
                return False
        count = min(wanted, _BATCH, wanted if self._left is None else self._left)
        if count <= 0:
            return False
        sent = self._emit(source, sessions, count)
        if pace is not None:
            pace.paid(sent)
        return sent < wanted or pace is None

    def _emit(self, source: Source, sessions: list[Session], count: int) -> int:
        fresh = source.traffic.next
        batch: list[Dispatch] = []
        size = 0
        while count > len(batch) and size < _BATCH_BYTES:
            dispatch = fresh()
            batch.append(dispatch)
            size += len(dispatch.data)
        self._generated += len(batch)
        if self._left is not None:
            self._left -= len(batch)
        at = time.time()
        wave = self._with_duplicates(batch, source.shard_id)
        for session in sessions:
            session.offer(wave, at)
        self._offer_to_other_layouts(wave, source.shard_count, at)
        return len(batch)

    def _with_duplicates(self, batch: list[Dispatch], shard_id: int) -> list[Dispatch]:
        probability = self._state.faults.duplicates(shard_id)
        if not probability:
            return batch
        return [
            dispatch
            for original in batch
            for dispatch in ([original, original] if self._rng.random() < probability else [original])
        ]

    def _offer_to_other_layouts(self, batch: list[Dispatch], shard_count: int, at: float) -> None:
        for count in self._state.sessions.shard_counts():
            if count == shard_count:
                continue
            waves: dict[int, list[Dispatch]] = {}
            for dispatch in batch:
                waves.setdefault(shard_of_guild(dispatch.guild_id, count), []).append(dispatch)
            for shard_id, wave in waves.items():
                for session in self._state.sessions.of_shard((shard_id, count)):
                    if session.live:
                        session.offer(wave, at)


def _all_read(sessions: list[Session]) -> bool:
    """Whether some client is connected, and every connected one keeps up."""
    outlets = [session.outlet for session in sessions if session.outlet is not None]
    return bool(outlets) and all(outlet.ready_for_more for outlet in outlets)
