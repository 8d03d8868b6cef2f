"""How the processes of a consumer group share its dispatches: all of them must do it in the same way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MAX_PARTITIONS = 256


class Ordering(StrEnum):
    """Whose handlers start in order, over all processes of a group."""

    NONE = "none"
    GUILD = "guild"
    SHARD = "shard"


_ALL = tuple(Ordering)


@dataclass(frozen=True, slots=True)
class GroupLayout:
    """`partition_count` counts only if `ordering` is not none."""

    ordering: Ordering = Ordering.NONE
    partition_count: int = 1

    @property
    def is_partitioned(self) -> bool:
        """Whether the group has partitions, each with one process that consumes it."""
        return self.ordering is not Ordering.NONE

    @property
    def code(self) -> int:
        """A number above 0 for each layout: two that do the same have the same one."""
        partition_count = self.partition_count if self.is_partitioned else 1
        return partition_count * len(_ALL) + _ALL.index(self.ordering)

    @classmethod
    def from_code(cls, code: int) -> GroupLayout:
        """The layout that has this `code`."""
        return cls(_ALL[code % len(_ALL)], code // len(_ALL))

    def __str__(self) -> str:
        """The options that choose it."""
        partitions = f" --partitions {self.partition_count}" if self.is_partitioned else ""
        return f"--ordering {self.ordering}{partitions}"
