"""The demo's result: a record for programs, a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops.tally import Tally

MEANINGS = {
    "sent": "dispatches that the simulated Discord sent (its ledger)",
    "handled": "of them, handled by the bot (its own record)",
    "lost": "sent and never handled",
    "duplicated": "handled twice: published in the last 100 ms before the worker's kill (marked replayed), or not yet"
    " acknowledged when the consumer was killed (marked redelivered); same message_id",
    "violations": "rules of Discord's that were broken (its ledger)",
    "p50_ms": "from Discord's send to the handler, median",
    "p99_ms": "the same, 99th percentile; a takeover's wait is in it",
    "identifies": "new sessions: one for each shard",
    "resumes": "sessions that went on over a new connection",
    "worker_takeover_s": "from the worker's SIGKILL until all its sessions were resumed (ledger)",
    "coordinator_takeover_s": "from the leader's SIGKILL until another leads and knows all leases",
}


def make_report(result: Tally, verdict: Mapping[str, Any], takeovers: Mapping[str, float | None]) -> dict[str, Any]:
    """The last line of the demo; times in ms and s, None for what did not happen."""
    return {
        "sent": result.sent,
        "handled": result.handled,
        "lost": result.lost,
        "duplicated": result.duplicated,
        "violations": verdict["violation_count"],
        "p50_ms": result.p50_ms,
        "p99_ms": result.p99_ms,
        "identifies": verdict["identifies"],
        "resumes": verdict["resumes"],
        **takeovers,
    }


def print_table(report: Mapping[str, Any], result: Tally, verdict: Mapping[str, Any]) -> None:
    """The figures with their meanings, what was lost by type, the first violations."""
    table = Table("figure", "value", "meaning")
    for key, meaning in MEANINGS.items():
        table.add_row(key, "-" if report[key] is None else str(report[key]), meaning)
    console = Console()
    console.print(table)
    for event_type, count in result.lost_by_type.items():
        console.print(f"lost: {count} {event_type}")
    for violation in verdict["violations"][:10]:
        console.print(f"violation: {violation}", markup=False)
