"""What a session can still replay after a Resume: bounded by depth and by age."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway_sim.dispatch import Dispatch

Entry = tuple[int, float, "Dispatch"]
"""A dispatch of one session: (seq, time.time() when it happened, dispatch)."""

_SLACK = 512
_seq_of = itemgetter(0)
_at_of = itemgetter(1)


class ReplayBuffer:
    """The last `depth` dispatches of a session, none older than `age_s`; seqs grow, with gaps allowed."""

    __slots__ = ("_age_s", "_depth", "_entries", "_forgotten_seq")

    def __init__(self, *, depth: int, age_s: float) -> None:
        if depth < 1 or age_s <= 0:
            msg = f"A replay buffer needs a depth of at least 1 and a positive age, not {depth} and {age_s}."
            raise ValueError(msg)
        self._depth = depth
        self._age_s = age_s
        self._entries: list[Entry] = []
        self._forgotten_seq = 0

    def __len__(self) -> int:
        return len(self._entries)

    def extend(self, entries: Sequence[Entry]) -> None:
        """Append dispatches; the oldest are forgotten in lumps, so that one append stays cheap."""
        self._entries.extend(entries)
        if len(self._entries) > self._depth + _SLACK:
            self._forget(len(self._entries) - self._depth)

    def trim(self, now: float) -> None:
        """Forget all that is too deep or older than `age_s` at `now`."""
        too_deep = len(self._entries) - self._depth
        too_old = bisect_left(self._entries, now - self._age_s, key=_at_of)
        self._forget(max(too_deep, too_old))

    def after(self, seq: int, now: float) -> list[Entry] | None:
        """Return the dispatches that follow `seq`, in order, or None if one of them was forgotten."""
        self.trim(now)
        if seq < self._forgotten_seq:
            return None
        return self._entries[bisect_right(self._entries, seq, key=_seq_of) :]

    def clear(self) -> None:
        """Forget everything (the session has ended)."""
        self._forget(len(self._entries))

    def _forget(self, count: int) -> None:
        if count > 0:
            self._forgotten_seq = self._entries[count - 1][0]
            del self._entries[:count]
