"""Liveness: when a worker counts as dead, from what the broker says of its two connections. Pure.

Lease time alone never kills: a worker whose publishing connection stands could publish at any moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

GRACE_S = 5.0


class Liveness:
    """Remembers since when a worker's publishing connection is gone."""

    def __init__(self, *, grace_s: float = GRACE_S) -> None:
        self._grace_s = grace_s
        self._gone_since: dict[str, float] = {}
        self._doubted: set[str] = set()

    def doubt(self, worker_ids: Iterable[str]) -> None:
        """Our own broker connection was lost, so theirs may have been: each gets the grace until it is seen again."""
        self._gone_since.clear()
        self._doubted = set(worker_ids)

    def is_dead(self, worker_id: str, *, can_publish: bool, has_inbox: bool, now: float) -> bool:
        """Judge what the broker just said: both connections gone is death, the publishing one alone after a grace."""
        if can_publish:
            self.forget(worker_id)
            return False
        gone_since = self._gone_since.setdefault(worker_id, now)
        if not has_inbox and worker_id not in self._doubted:
            return True
        return now - gone_since >= self._grace_s

    def forget(self, worker_id: str) -> None:
        """Nothing is held against the worker any more."""
        self._gone_since.pop(worker_id, None)
        self._doubted.discard(worker_id)
