"""SIGKILL of the coordinator that leads, while another stands by: dispatches, leases and sessions do not notice."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ops.chaos.reliability.bounds import Bound, spread
from ops.chaos.reliability.probe import Probe
from ops.chaos.schedule import Size
from ops.chaos.verdict import percentile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.chaos.reliability.scene import Scene
    from ops.chaos.settings import ChaosSettings

FULL_COUNT = 100
SHARDS = 8
BUCKET_S = 0.25
WINDOW_S = 3.0
"""The rate is looked at for so long after each kill, and for so long in quiet time before the next."""
GRANT_TIMEOUT_S = 30.0


class CoordinatorKills:
    """A round is one kill. The bot has one shard more than its workers run: a probe takes that one's lease."""

    bounds = (
        Bound("grant_max_s", most=5.0),
        Bound("worst_mean_rate_after_kill", least=0.9),
        Bound("p05_rate_after_kill", least=0.8),
        Bound("changed_leases", most=0),
        Bound("resumes_in_the_run", most=0),
    )

    def __init__(self, count: int, fleet: ChaosSettings) -> None:
        size = Size(shards=SHARDS, workers=2, consumers=2, coordinators=2, standbys=0)
        environment = {"GW_SHARD_COUNT": str(SHARDS + 1)}
        shards = f"0-{SHARDS - 1}"
        self.settings = replace(fleet, size=size, environment=environment, worker_shards=shards)
        self._count = count
        self._stack = contextlib.AsyncExitStack()
        self._probe: Probe | None = None
        self._tokens: dict[int, int] = {}
        self._changed: set[int] = set()
        self._resumes_before = 0
        self._grants_s: list[float] = []
        self._granting_s: list[float] = []
        self._starts_s: list[float] = []
        self._after_kill: list[list[int]] = []
        self._in_quiet: list[int] = []

    @property
    def is_done(self) -> bool:
        """Whether all kills are done."""
        return len(self._grants_s) >= self._count

    async def begin(self, scene: Scene) -> None:
        """The probe enters; leases are as they must stay."""
        stage = scene.stage
        self._probe = await self._stack.enter_async_context(Probe(stage.amqp_url, stage.namespace, SHARDS))
        lease, _ = await self._probe.lease(timeout_s=GRANT_TIMEOUT_S)
        await self._probe.give_back(lease)
        self._tokens = _of_workers(await self._probe.fencing_tokens())
        self._resumes_before = (await stage.simulator.verdict())["resumes"]
        await scene.settle()

    async def round(self, scene: Scene) -> dict[str, Any]:
        """Kill the leader, ask for a lease until its successor grants it, give it back, start the killed one again."""
        probe, victim = self._probe, scene.cast.leader
        if probe is None or victim is None:
            raise RuntimeError("begin() comes before round()")
        killed_at = time.time()
        scene.cast.kill(victim)
        lease, granted_at = await probe.lease(timeout_s=GRANT_TIMEOUT_S)
        await scene.pause(killed_at + WINDOW_S - time.time())
        await probe.give_back(lease)
        tokens = _of_workers(await probe.fencing_tokens())
        self._changed |= {shard for shard in self._tokens if tokens.get(shard) != self._tokens[shard]}
        filled_at = time.monotonic()
        scene.cast.fill(victim)
        await scene.until_ready([victim])
        self._starts_s.append(time.monotonic() - filled_at)
        await scene.settle()
        self._after_kill.append(list(scene.witness.bucket_counts(killed_at, killed_at + WINDOW_S, BUCKET_S)))
        self._grants_s.append(granted_at - killed_at)
        self._granting_s.append(scene.cast.granting_at - killed_at)
        await self._quiet(scene)
        return {"grant_s": round(granted_at - killed_at, 3), "lowest_bucket": min(self._after_kill[-1])}

    async def _quiet(self, scene: Scene) -> None:
        began_at = time.time()
        await scene.pause(WINDOW_S)
        ended_at = time.time()
        await scene.settle()
        self._in_quiet += scene.witness.bucket_counts(began_at, ended_at, BUCKET_S)

    async def end(self, _: Scene) -> None:
        """The probe leaves."""
        await self._stack.aclose()

    def figures(self, scene: Scene) -> dict[str, Any]:
        """Time to the probe's lease and to the successor's own word, rates in buckets, leases that changed.

        `start`: how long a new coordinator takes until it has read the session stream, and is a stand-by.

        Rates are shares of the mean (p05: of the same percentile) in quiet time.
        """
        seen = {shard for shard, tokens in scene.witness.tokens.items() if len(tokens) > 1}
        return {
            "kills": len(self._grants_s),
            **spread(self._grants_s, "grant", "s"),
            **spread(self._granting_s, "says_it_grants", "s"),
            **spread(self._starts_s, "start", "s"),
            "changed_leases": len(self._changed | seen),
            "resumes_in_the_run": scene.outcome.verdict.get("resumes", 0) - self._resumes_before,
            **rates(self._after_kill, self._in_quiet),
        }


def _of_workers(tokens: dict[int, int]) -> dict[int, int]:
    return {shard: token for shard, token in tokens.items() if shard < SHARDS}


def rates(after_kill: Sequence[Sequence[int]], in_quiet: Sequence[int]) -> dict[str, Any]:
    """Counts of buckets after kills against those in quiet time.

    `worst_mean`: of the means by distance from the kill, the lowest one, so that a dip that each kill makes is not
    hidden in the noise of single buckets.
    """
    columns = list(zip(*after_kill, strict=False))
    if not columns or not in_quiet:
        return {}
    means = [fmean(column) for column in columns]
    quiet_mean, every = fmean(in_quiet), [count for one in after_kill for count in one]
    quiet_p05, kill_p05 = percentile(in_quiet, 0.05) or 0.0, percentile(every, 0.05) or 0.0
    return {
        "quiet_mean_per_bucket": round(quiet_mean, 1),
        "quiet_p05_p50_p95": [percentile(in_quiet, share) for share in (0.05, 0.5, 0.95)],
        "after_kill_p05_p50_p95": [percentile(every, share) for share in (0.05, 0.5, 0.95)],
        "mean_rate_after_kill": round(fmean(every) / max(1.0, quiet_mean), 3),
        "worst_mean_rate_after_kill": round(min(means) / max(1.0, quiet_mean), 3),
        "p05_rate_after_kill": round(kill_p05 / max(1.0, quiet_p05), 3),
    }
