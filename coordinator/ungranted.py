"""Free shards that a worker would take and that are not granted: somebody should hear of them. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

OVERDUE_S = 10.0
"""A grant takes a tick; a dead worker's silent connection stands for 15 s, and that is worth a line."""


class Ungranted:
    """Remembers since when each shard has been proposed. `now` is in seconds on the coordinator's monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}
        self._told: set[int] = set()

    def overdue(self, proposals: Iterable[tuple[int, str]], now: float) -> list[int]:
        """The shards that have been proposed for OVERDUE_S without a grant, ascending; each once until it is granted.

        `proposals` are those that are left after granting, as (shard, worker id); call it once a second.
        """
        self._since = {shard: self._since.get(shard, now) for shard, _ in proposals}
        overdue = {shard for shard, since in self._since.items() if now - since >= OVERDUE_S}
        news = sorted(overdue - self._told)
        self._told = overdue
        return news
