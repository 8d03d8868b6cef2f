"""The processes of a partitioned group, as one of them knows them."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from consumers.assignment import assign

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pool:
    """Members by name. `me` has a new name on every connect; it has no share before it `join`s.

    `shard_count` is the largest that any of them knows of: all must compute with the same.
    """

    def __init__(self, partition_count: int) -> None:
        self._partition_count = partition_count
        self._others: set[str] = set()
        self.me = ""
        self.has_joined = False
        self.shard_count = 1

    def begin(self, me: str) -> None:
        """Under a new name, on a new connection: who the others are is to be heard anew."""
        self._others.clear()
        self.me = me
        self.has_joined = False

    def join(self) -> None:
        """Take part."""
        self.has_joined = True

    def leave(self) -> None:
        """Take no part any more."""
        self.has_joined = False

    def add(self, member: str) -> bool:
        """Whether it is new."""
        is_new = member != self.me and member not in self._others
        if is_new:
            self._others.add(member)
        return is_new

    def remove(self, member: str) -> bool:
        """Whether it was known."""
        was_known = member in self._others
        self._others.discard(member)
        return was_known

    def grow(self, shard_count: int) -> bool:
        """Whether the fleet has more shards than was known."""
        has_grown = shard_count > self.shard_count
        self.shard_count = max(shard_count, self.shard_count)
        return has_grown

    @property
    def used_count(self) -> int:
        """How many partitions get dispatches: the first ones."""
        return min(self._partition_count, self.shard_count)

    @property
    def size(self) -> int:
        """How many take part."""
        return len(self._others) + self.has_joined

    def share(self) -> frozenset[int]:
        """The partitions that are this process's."""
        if not self.has_joined:
            return frozenset()
        chosen = assign([*self._others, self.me], self._partition_count, self.used_count)
        return frozenset(partition for partition, member in chosen.items() if member == self.me)

    def behind_me(self) -> Iterator[str]:
        """The others, in the order of a ring that begins behind this process.

        Each looks after the first of these that lives: so everybody is looked after by somebody.
        """
        ring = sorted(self._others)
        start = bisect.bisect(ring, self.me)
        yield from ring[start:]
        yield from ring[:start]
