"""The referee: keeps the violations of Discord's rules and what else is worth knowing about the clients."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import Any

from gateway_sim.json_value import Json

_MAX_VIOLATIONS = 10_000
_MAX_RECEIVED = 20_000


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a client broke. `at` is time.time(); `shard` and `session` are None while unknown."""

    rule: str
    shard: int | None
    session: str | None
    at: float
    detail: str


@dataclass(frozen=True, slots=True)
class Received:
    """A gateway command that a client sent (heartbeats are only counted)."""

    op: int
    shard: int | None
    session: str | None
    d: Json
    at: float


class Referee:
    """Collects violations, notes and received commands, all bounded; counts are always exact."""

    def __init__(self) -> None:
        self.violations: deque[Violation] = deque(maxlen=_MAX_VIOLATIONS)
        self.received: deque[Received] = deque(maxlen=_MAX_RECEIVED)
        self.violation_count = 0
        self.notes: Counter[str] = Counter()
        self.commands: Counter[int] = Counter()
        self.identifies = 0
        self.resumes = 0
        self.resumes_refused = 0
        self.token_reset = False

    def violation(self, rule: str, detail: str, *, shard: int | None, session: str | None, at: float) -> None:
        """Record a broken rule. `rule` is a stable name, `detail` a sentence."""
        self.violation_count += 1
        self.violations.append(Violation(rule, shard, session, at, detail))

    def note(self, name: str) -> None:
        """Count something that breaks no rule, but that a reader of the verdict wants to know."""
        self.notes[name] += 1

    def command(self, received: Received) -> None:
        """Record a payload from a client; secrets are masked."""
        self.commands[received.op] += 1
        if received.op == 1:
            return
        if isinstance(received.d, dict) and "token" in received.d:
            received = Received(
                received.op, received.shard, received.session, {**received.d, "token": "***"}, received.at
            )
        self.received.append(received)

    def summary(self) -> dict[str, Any]:
        """Return the referee's part of the verdict."""
        return {
            "violations": [asdict(violation) for violation in self.violations],
            "violation_count": self.violation_count,
            "identifies": self.identifies,
            "resumes": self.resumes,
            "resumes_refused": self.resumes_refused,
            "token_reset": self.token_reset,
            "gateway_commands": {str(op): count for op, count in sorted(self.commands.items())},
            "notes": dict(sorted(self.notes.items())),
        }
