"""Which event types a process wants copies of: those that somebody waits for, and for a while those of before. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

LINGER_S = 30.0
"""Who asks twice in a row does not wait for a binding twice, and misses nothing in between."""


class TypeDemand:
    """Event types, each counted; one that nobody needs any more stays wanted for `linger_s`. `now` in seconds."""

    def __init__(self, linger_s: float = LINGER_S) -> None:
        self._linger_s = linger_s
        self._counts: Counter[str] = Counter()
        self._ends: dict[str, float] = {}

    def add(self, event_types: Iterable[str]) -> None:
        """Somebody needs them."""
        for event_type in event_types:
            self._counts[event_type] += 1
            self._ends.pop(event_type, None)

    def remove(self, event_types: Iterable[str], now: float) -> None:
        """The same one does not need them any more."""
        for event_type in event_types:
            self._counts[event_type] -= 1
            if not self._counts[event_type]:
                del self._counts[event_type]
                self._ends[event_type] = now + self._linger_s

    def is_needed(self, event_type: str) -> bool:
        """Whether somebody needs it now."""
        return event_type in self._counts

    def wanted(self, now: float) -> frozenset[str]:
        """What is needed, or was within the last `linger_s`."""
        self._ends = {event_type: end for event_type, end in self._ends.items() if end > now}
        return frozenset(self._counts) | frozenset(self._ends)

    def next_end(self) -> float | None:
        """When a type ends to be wanted; None if none does by time alone."""
        return min(self._ends.values(), default=None)
