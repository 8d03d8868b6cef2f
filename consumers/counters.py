"""What a process counts of its deliveries since it started."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    """One process's share of its group.

    `handled`: handlers ended and none raised. `failed`: a listener raised; what came of it is in `retried`,
    `dead_letters` and `failures_acknowledged`. `duplicates_dropped`: copies of a dispatch that this process handled.
    `forwarded`: handled by the process that owns the component.
    `former_holder_dropped`: copies of a former holder that its successor published again. `isolated`: moved to the
    quarantine lane. `dead_letters`: all that were stored, whatever the reason. `stale_interactions` and
    `skipped_by_age`: acknowledged unhandled, too old. `handlers_timed_out`: handlers that were cancelled.
    `loop_stalls`: how often a handler kept the event loop for more than a second.
    """

    handled: int = 0
    forwarded: int = 0
    failed: int = 0
    retried: int = 0
    failures_acknowledged: int = 0
    dead_letters: int = 0
    isolated: int = 0
    duplicates_dropped: int = 0
    former_holder_dropped: int = 0
    stale_interactions: int = 0
    skipped_by_age: int = 0
    handlers_timed_out: int = 0
    loop_stalls: int = 0

    def fields(self) -> dict[str, int]:
        """By name, for logs."""
        return asdict(self)
