"""The pool of a partitioned group: a share for each who joined, and somebody who looks after everybody."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from consumers.pool import Pool

NAMES = st.sets(st.text("abc123", min_size=1, max_size=6), min_size=1, max_size=8)


def pools(names: set[str], partition_count: int = 16) -> dict[str, Pool]:
    made = {name: Pool(partition_count) for name in names}
    for name, pool in made.items():
        pool.begin(name)
        pool.join()
        pool.grow(partition_count)
        for other in names:
            pool.add(other)
    return made


@given(NAMES)
def test_the_shares_of_all_are_all_partitions_once(names: set[str]) -> None:
    shares = [pool.share() for pool in pools(names).values()]
    assert sorted(itertools.chain.from_iterable(shares)) == list(range(16))


@given(NAMES, st.data())
def test_whoever_dies_is_looked_after_by_one_that_lives(names: set[str], data: st.DataObject) -> None:
    dead = data.draw(st.sets(st.sampled_from(sorted(names)), max_size=len(names) - 1))
    noticed: set[str] = set()
    for name, pool in pools(names).items():
        if name not in dead:
            noticed.update(itertools.takewhile(dead.__contains__, pool.behind_me()))
    assert noticed == dead


def test_who_has_not_joined_or_left_has_no_share() -> None:
    pool = Pool(4)
    pool.begin("a")
    assert pool.share() == frozenset()
    pool.join()
    assert pool.share() == {0, 1, 2, 3}
    pool.leave()
    assert pool.share() == frozenset()


def test_a_new_connection_begins_without_knowing_anybody() -> None:
    pool = Pool(4)
    pool.begin("a")
    pool.add("b")
    pool.join()
    assert pool.size == 2
    pool.begin("c")
    assert (pool.size, list(pool.behind_me())) == (0, [])


def test_the_largest_shard_count_that_anybody_knows_of_counts() -> None:
    pool = Pool(16)
    assert pool.grow(8)
    assert not pool.grow(4)
    assert pool.used_count == 8
    assert pool.grow(32)
    assert pool.used_count == 16
