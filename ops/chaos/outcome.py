"""What a run found so far."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ops.chaos.memory import MemorySample
    from ops.chaos.stage import Stage


@dataclass
class Outcome:
    """What a run found; `given_up`: message ids that did not settle in time; `sessions`: the simulator's last word.

    `is_complete`: it was not told to stop before its end.
    """

    rounds: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    settle_s: list[float] = field(default_factory=list)
    takeovers_s: list[float] = field(default_factory=list)
    missing_takeovers: int = 0
    faults_without_effect: int = 0
    failed_rounds: list[dict[str, Any]] = field(default_factory=list)
    given_up: set[str] = field(default_factory=set)
    memory: list[MemorySample] = field(default_factory=list)
    duration_s: float = 0.0
    crashes: int = 0
    bad_ends: list[str] = field(default_factory=list)
    is_complete: bool = False
    sessions: list[dict[str, Any]] = field(default_factory=list)
    verdict: dict[str, Any] = field(default_factory=dict)

    async def refresh(self, stage: Stage) -> None:
        """Take the simulator's word up to now."""
        self.sessions = await stage.judge.look()
        self.verdict = await stage.simulator.verdict()
        self.crashes = sum(child.restart_count for child in stage.supervisor.children)
        self.bad_ends = list(stage.cast.bad_ends)
