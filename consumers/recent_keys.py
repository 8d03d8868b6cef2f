"""A bounded memory of keys: the newest are known, the oldest forgotten."""

from __future__ import annotations

RECENT_COUNT = 50_000


class RecentKeys:
    """Knows at least the last `count` keys, at most twice as many; two generations, so that nothing is searched."""

    __slots__ = ("_count", "_new", "_old")

    def __init__(self, count: int = RECENT_COUNT) -> None:
        self._count = count
        self._new: set[str] = set()
        self._old: set[str] = set()

    def add(self, key: str) -> None:
        """Remember `key`."""
        self._new.add(key)
        if len(self._new) >= self._count:
            self._old, self._new = self._new, set()

    def __contains__(self, key: str) -> bool:
        return key in self._new or key in self._old

    def __len__(self) -> int:
        return len(self._new) + len(self._old)
