"""When dispatches were sent and handled, by shard: gaps, rates, repetitions, fencing tokens. Pure.

A watcher of a `Comparison`. About 16 bytes a dispatch.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ops.chaos.verdict import HandledDispatch, SentDispatch


LATE_S = 0.2
"""Records of two processes are read one after the other, so their order within a moment says nothing."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """A dispatch that was handled once more, at `at`; `was_replayed` says that Discord sent it again."""

    shard: int
    sent_at: float
    at: float
    was_replayed: bool


class Timeline:
    """All times are seconds since the epoch."""

    def __init__(self) -> None:
        self._sent: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))
        self._handled: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))
        self.repetitions: list[Repetition] = []
        self.tokens: defaultdict[int, set[int]] = defaultdict(set)
        """By shard, the fencing tokens that were seen."""
        self._successors: dict[int, tuple[int, float]] = {}
        self.late_count = 0
        """How many were handled first, and only when their shard's next holder had been heard for a while."""
        self.newest_sent_at = 0.0
        """When the newest dispatch that was handled had been sent."""

    def on_sent(self, row: SentDispatch) -> None:
        """A row of the ledger."""
        self._sent[row.shard].append(row.at)

    def on_handled(self, record: HandledDispatch, *, sent_at: float, is_first: bool) -> None:
        """A line of a handler's record."""
        self.tokens[record.shard].add(record.fencing_token)
        token, heard_at = self._successors.get(record.shard, (0, 0.0))
        if record.fencing_token > token:
            self._successors[record.shard] = (record.fencing_token, record.at)
        elif record.fencing_token < token and is_first:
            self.late_count += record.at > heard_at + LATE_S
        self.newest_sent_at = max(self.newest_sent_at, sent_at)
        if is_first:
            self._handled[record.shard].append(record.at)
        else:
            self.repetitions.append(Repetition(record.shard, sent_at, record.at, record.replayed))

    def sent_count(self, shards: Iterable[int], since: float, until: float) -> int:
        """How many dispatches of `shards` were sent in that time."""
        return sum(_count(self._sent[shard], since, until) for shard in shards)

    def repeated(self, shards: Iterable[int], since: float, until: float) -> list[Repetition]:
        """What was handled once more in that time."""
        chosen = frozenset(shards)
        return [one for one in reversed(self.repetitions) if one.shard in chosen and since < one.at <= until]

    def largest_gap_s(self, shard: int, since: float, until: float) -> float | None:
        """The longest time between two dispatches in a row that touches `since` to `until`; None without two."""
        times = self._handled[shard]
        first = max(0, bisect_right(times, since) - 1)
        last = min(len(times), bisect_left(times, until) + 1)
        near = times[first:last]
        return max((later - earlier for earlier, later in pairwise(near)), default=None)

    def handled_count(self, since: float, until: float) -> int:
        """How many dispatches of all shards were handled first in that time."""
        return sum(_count(times, since, until) for times in self._handled.values())

    def bucket_counts(self, since: float, until: float, width_s: float) -> Iterator[int]:
        """How many were handled first in each whole bucket of `width_s` from `since` on."""
        for number in range(int((until - since) / width_s + 1e-6)):
            yield self.handled_count(since + number * width_s, since + (number + 1) * width_s)


def _count(times: array[float], since: float, until: float) -> int:
    return bisect_left(times, until) - bisect_left(times, since)
