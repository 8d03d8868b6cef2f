"""The report of a chaos run as one JSON object, and whether the run passed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops.chaos.memory import GROWTH_LIMIT, growth, peaks_mb
from ops.chaos.verdict import percentile, sessions_lost_by_us

if TYPE_CHECKING:
    from ops.chaos.judge import Judge
    from ops.chaos.outcome import Outcome
    from ops.chaos.settings import ChaosSettings

MUST_BE_NONE = (
    "lost",
    "reordered",
    "violations",
    "stale",
    "identifies_unexplained",
    "sessions_lost_by_us",
    "doubled_shards",
    "failed_rounds",
    "crashes",
    "bad_ends",
    "unknown",
    "misnamed",
)
OF_THE_TEST_BED = frozenset({"broker", "simulator"})
"""Their memory is reported; whether it is flat is not ours to promise (the simulator keeps its ledger)."""


def make_report(settings: ChaosSettings, outcome: Outcome, judge: Judge) -> dict[str, Any]:
    """All figures. `passed` is what the exit code says."""
    lost, forfeited = judge.lost_and_forfeited(outcome.sessions)
    excused = judge.excused_violations(outcome.verdict)
    growths = growth(outcome.memory, duration_s=outcome.duration_s)
    grown = {place: one for place, one in growths.items() if one > GROWTH_LIMIT and place not in OF_THE_TEST_BED}
    explained = settings.size.shards + len(judge.ended(outcome.sessions))
    report: dict[str, Any] = {
        "seed": settings.seed,
        "is_soak": settings.soak_s is not None,
        "is_complete": outcome.is_complete,
        "kinds": [kind.value for kind in settings.kinds],
        "shards": settings.size.shards,
        "offered_per_s": settings.rate * settings.size.shards,
        "sent_per_s": _rounded(judge.handlers.sent_count / outcome.duration_s if outcome.duration_s else None),
        "rounds": outcome.rounds,
        "first_round": settings.first_round,
        "duration_s": round(outcome.duration_s, 1),
        "sent": judge.handlers.sent_count,
        "handled": judge.handlers.handled_count,
        "lost": len(lost),
        "forfeited": len(forfeited),
        "unknown": judge.handlers.unknown_count + judge.witness.unknown_count,
        "misnamed": judge.handlers.misnamed_count + judge.witness.misnamed_count,
        "duplicated": judge.handlers.duplicates.total(),
        "duplicated_by_cause": dict(sorted(judge.handlers.duplicates.items())),
        "witness_duplicated_by_cause": dict(sorted(judge.witness.duplicates.items())),
        "reordered": judge.witness.reordered_count,
        "stale": judge.witness.stale_count,
        "doubled_shards": sorted(judge.doubled_shards),
        "violations": outcome.verdict["violation_count"] - excused,
        "excused_violations": excused,
        "identifies": outcome.verdict["identifies"],
        "identifies_unexplained": outcome.verdict["identifies"] - explained,
        "sessions_lost_by_us": sessions_lost_by_us(outcome.sessions),
        "resumes": outcome.verdict["resumes"],
        "sessions_taken_over": outcome.verdict["notes"].get("session_taken_over", 0),
        "resumes_refused": outcome.verdict["resumes_refused"],
        "takeovers": len(outcome.takeovers_s),
        "missing_takeovers": outcome.missing_takeovers,
        "takeover_p50_s": _rounded(percentile(outcome.takeovers_s, 0.50)),
        "takeover_p99_s": _rounded(percentile(outcome.takeovers_s, 0.99)),
        "settle_p50_s": _rounded(percentile(outcome.settle_s, 0.50)),
        "settle_max_s": _rounded(percentile(outcome.settle_s, 1.0)),
        "latency_p50_ms": _rounded(percentile(judge.handlers.latencies_ms, 0.50)),
        "latency_p99_ms": _rounded(percentile(judge.handlers.latencies_ms, 0.99)),
        "crashes": outcome.crashes,
        "bad_ends": outcome.bad_ends,
        "faults_without_effect": outcome.faults_without_effect,
        "faults": dict(sorted(outcome.faults.items())),
        "failed_rounds": outcome.failed_rounds,
        "memory_peak_mb": peaks_mb(outcome.memory),
    }
    if settings.soak_s is not None:
        report |= {"memory_growth": growths, "memory_grown": grown}
    report["passed"] = passes(report)
    return report


def passes(report: dict[str, Any]) -> bool:
    """Nothing lost, reordered or stale, no rule of Discord's broken, no session given away, every round settled.

    The run was played to its end; in a soak, memory must be flat, too.
    """
    is_clean = not any(report[name] for name in MUST_BE_NONE) and not report.get("memory_grown")
    return is_clean and bool(report["is_complete"])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
