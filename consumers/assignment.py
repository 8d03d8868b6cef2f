"""Which process of a group consumes which partition: every process computes the same from the same members.

Rendezvous hashing (https://en.wikipedia.org/wiki/Rendezvous_hashing) with a bound on the load: each pair of partition
and member has a score of its own, and the highest score whose member has room wins. So the counts differ by at most
one, and most partitions stay where they are when a member comes or goes. Nothing is remembered: processes that heard of
the same members in another order agree all the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


def assign(members: Collection[str], partition_count: int, used_count: int) -> dict[int, str]:
    """Partition → member; empty if there are none.

    The first `used_count` partitions get dispatches: they are spread evenly among themselves, then all are.
    """
    loads: Counter[str] = Counter()
    chosen: dict[int, str] = {}
    if members:
        used_count = min(used_count, partition_count)
        _spread(range(used_count), members, loads, chosen)
        _spread(range(used_count, partition_count), members, loads, chosen)
    return chosen


def _spread(partitions: range, members: Collection[str], loads: Counter[str], chosen: dict[int, str]) -> None:
    """Give each of `partitions` a member, so that all `loads` differ by at most one in the end."""
    least, spare_count = divmod(len(chosen) + len(partitions), len(members))
    pairs = sorted((_score(partition, member), partition, member) for partition in partitions for member in members)
    for _, partition, member in pairs:
        if partition in chosen or loads[member] > least:
            continue
        if loads[member] == least:
            if not spare_count:
                continue
            spare_count -= 1
        chosen[partition] = member
        loads[member] += 1


def _score(partition: int, member: str) -> bytes:
    return hashlib.blake2b(f"{partition} {member}".encode(), digest_size=8).digest()
