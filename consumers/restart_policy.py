"""When a consumer process that ended is started again, and when its supervisor gives up."""

from __future__ import annotations

FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 10.0
HEALTHY_AFTER_S = 60.0
MAX_FAILED_STARTS = 3
# More than the queue's delivery limit of 20: a dispatch that kills consumers becomes a dead letter before we give up.
MAX_CRASHES = 25


class RestartPolicy:
    """Back-off of one process: doubled with each early end, forgotten after a healthy life."""

    def __init__(self) -> None:
        self._failed_starts = 0
        self._crashes = 0

    def after_end(self, *, lived_s: float, was_ready: bool) -> float | None:
        """Seconds to wait before the next start, or None to give up.

        `was_ready`: it had begun to consume; if not, the start itself failed.
        """
        if lived_s >= HEALTHY_AFTER_S:
            self._failed_starts = self._crashes = 0
        if was_ready:
            self._failed_starts = 0
            self._crashes += 1
        else:
            self._failed_starts += 1
        if self._failed_starts >= MAX_FAILED_STARTS or self._crashes >= MAX_CRASHES:
            return None
        early_ends = self._failed_starts + self._crashes
        return min(FIRST_BACKOFF_S * 2.0 ** (early_ends - 1), MAX_BACKOFF_S)
