"""Partitions are spread evenly, in the same way by everybody, and few move when a process comes or goes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from consumers.assignment import assign

MEMBERS = st.sets(st.text("abcdef0123456789", min_size=1, max_size=8), min_size=1, max_size=24)
COUNTS = st.integers(1, 64)


def names(count: int) -> list[str]:
    return [f"gw.pool.main.{number:04x}" for number in range(count)]


@given(MEMBERS, COUNTS, COUNTS)
def test_every_partition_has_one_member_and_the_counts_differ_by_at_most_one(
    members: set[str], partition_count: int, used_count: int
) -> None:
    chosen = assign(members, partition_count, used_count)
    assert chosen.keys() == set(range(partition_count))
    for first in (min(used_count, partition_count), partition_count):
        loads = Counter(chosen[partition] for partition in range(first))
        counts = [loads[member] for member in members]
        assert max(counts) - min(counts) <= 1


@given(MEMBERS, COUNTS, COUNTS, st.randoms(use_true_random=False))
def test_who_heard_of_the_members_in_another_order_computes_the_same(
    members: set[str], partition_count: int, used_count: int, chance: object
) -> None:
    shuffled = sorted(members)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert assign(shuffled, partition_count, used_count) == assign(sorted(members), partition_count, used_count)


def test_without_members_nobody_has_anything() -> None:
    assert assign([], 16, 16) == {}


def test_few_partitions_move_when_a_process_comes_or_goes() -> None:
    """On average at most twice as many as an even spread forces to move."""
    moved = needed = 0
    for size in range(1, 9):
        for start in range(20):
            pool = [f"{start}-{number}" for number in range(size + 1)]
            before, after = assign(pool[:-1], 16, 16), assign(pool, 16, 16)
            moved += sum(before[partition] != after[partition] for partition in range(16))
            needed += 16 // (size + 1)
    assert moved <= 2 * needed
