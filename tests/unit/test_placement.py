"""Placement gives free shards to the right workers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from coordinator.placement import Candidate, place


def worker(
    worker_id: str,
    *,
    wanted: frozenset[int] | None = None,
    capacity: int | None = None,
    lease_count: int = 0,
    is_draining: bool = False,
) -> Candidate:
    return Candidate(worker_id, wanted, capacity, lease_count, is_draining)


def test_the_worker_with_the_fewest_leases_gets_the_shard() -> None:
    busy, idle = worker("a", lease_count=3), worker("b", lease_count=1)
    assert place([0], [busy, idle], released_by={}) == [(0, "b")]


def test_the_smallest_id_gets_the_shard_among_equals() -> None:
    assert place([0], [worker("b"), worker("a")], released_by={}) == [(0, "a")]


def test_what_is_placed_in_one_round_counts() -> None:
    assert place(range(4), [worker("a"), worker("b")], released_by={}) == [(0, "a"), (1, "b"), (2, "a"), (3, "b")]


def test_a_draining_worker_gets_nothing() -> None:
    assert place([0], [worker("a", is_draining=True)], released_by={}) == []


def test_a_full_worker_gets_nothing() -> None:
    assert place([0, 1], [worker("a", capacity=2, lease_count=1)], released_by={}) == [(0, "a")]


def test_a_worker_gets_only_shards_that_it_wants() -> None:
    assert place([0, 1], [worker("a", wanted=frozenset({1}))], released_by={}) == [(1, "a")]


def test_the_worker_that_gave_a_shard_back_comes_last_however_idle() -> None:
    giver, other = worker("a"), worker("b", lease_count=9)
    assert place([0], [giver, other], released_by={0: "a"}) == [(0, "b")]


def test_the_worker_that_gave_a_shard_back_gets_it_if_nobody_else_can() -> None:
    assert place([0], [worker("a")], released_by={0: "a"}) == [(0, "a")]


def test_a_worker_that_may_be_frozen_comes_last_and_gets_what_nobody_else_takes() -> None:
    frozen, busy = worker("a"), worker("b", lease_count=9, capacity=10)
    placed = place([0, 1], [frozen, busy], released_by={0: "b"}, receivers={0: "a"}, late={"a"})
    assert placed == [(0, "b"), (1, "a")]


def test_a_shard_on_its_way_goes_to_its_receiver_however_busy() -> None:
    busy, idle = worker("a", lease_count=9), worker("b")
    assert place([0], [busy, idle], released_by={}, receivers={0: "a"}) == [(0, "a")]


def test_a_shard_on_its_way_gets_its_room_before_others_are_placed() -> None:
    full_soon, giver = worker("a", capacity=1), worker("b", is_draining=True)
    assert place([0, 1], [full_soon, giver], released_by={1: "b"}, receivers={1: "a"}) == [(1, "a")]


def test_a_shard_whose_receiver_takes_it_no_more_goes_to_another() -> None:
    gone, other = worker("a", is_draining=True), worker("b")
    assert place([0], [gone, other], released_by={}, receivers={0: "a"}) == [(0, "b")]


candidates = st.builds(
    Candidate,
    worker_id=st.uuids().map(str),
    wanted=st.none() | st.frozensets(st.integers(0, 15)),
    capacity=st.none() | st.integers(1, 6),
    lease_count=st.integers(0, 6),
    is_draining=st.booleans(),
)


@given(st.sets(st.integers(0, 15)), st.lists(candidates, max_size=6, unique_by=lambda one: one.worker_id))
def test_no_placement_breaks_range_capacity_or_draining(shards: set[int], workers: list[Candidate]) -> None:
    by_id = {one.worker_id: one for one in workers}
    placed = place(shards, workers, released_by={})
    assert len({shard for shard, _ in placed}) == len(placed)
    for shard, worker_id in placed:
        chosen = by_id[worker_id]
        assert shard in shards
        assert not chosen.is_draining
        assert chosen.wanted is None or shard in chosen.wanted
    for chosen in workers:
        given_count = sum(worker_id == chosen.worker_id for _, worker_id in placed)
        assert given_count == 0 or chosen.capacity is None or chosen.lease_count + given_count <= chosen.capacity


@given(st.sets(st.integers(0, 15)), st.lists(candidates, max_size=6, unique_by=lambda one: one.worker_id))
def test_a_shard_stays_free_only_if_nobody_takes_it(shards: set[int], workers: list[Candidate]) -> None:
    placed = place(shards, workers, released_by={})
    for shard in shards - {shard for shard, _ in placed}:
        for one in workers:
            given_count = sum(worker_id == one.worker_id for _, worker_id in placed)
            assert not one.takes(shard, lease_count=one.lease_count + given_count)
