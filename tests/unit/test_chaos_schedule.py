"""The seeded schedule of faults."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.chaos.schedule import BROKER_KINDS, ENDING_CODES, Kind, Round, Size, Strike, plan_round

ALL = tuple(Kind)
SIZE = Size()


def test_a_seed_gives_the_same_rounds_each_time_and_another_seed_others() -> None:
    first, again, other = ([plan_round(seed, number, ALL, SIZE) for number in range(40)] for seed in (7, 7, 8))

    assert first == again
    assert first != other


def test_single_faults_take_every_kind_in_turn() -> None:
    singles = [plan_round(3, number, ALL, SIZE) for number in range(0, 2 * len(ALL), 2)]

    assert all(len(one.strikes) == 1 for one in singles)
    assert {one.strikes[0].kind for one in singles} == set(ALL)


@given(seed=st.integers(0, 2**53), number=st.integers(0, 10_000), spared=st.integers(0, 1))
def test_a_round_hits_only_what_is_there(seed: int, number: int, spared: int) -> None:
    size = Size(shards=3, workers=3, consumers=2, coordinators=2, spared_count=spared)

    for strike in plan_round(seed, number, ALL, size).strikes:
        assert 0 <= strike.target < size.of_role(strike.kind)
        assert 0 <= strike.shard < size.shards
        assert strike.duration_s >= 0


@given(seed=st.integers(0, 2**53), number=st.integers(0, 5_000).map(lambda half: 2 * half + 1))
def test_of_a_pair_at_most_one_is_the_brokers(seed: int, number: int) -> None:
    planned = plan_round(seed, number, ALL, SIZE)

    assert len(planned.strikes) == 2
    assert sum(strike.kind in BROKER_KINDS for strike in planned.strikes) <= 1


def test_with_one_kind_every_round_is_single() -> None:
    rounds = [plan_round(1, number, [Kind.KILL_WORKER], SIZE) for number in range(9)]

    assert {(len(one.strikes), one.strikes[0].kind) for one in rounds} == {(1, Kind.KILL_WORKER)}


def test_with_brokers_kinds_alone_there_are_no_pairs() -> None:
    assert len(plan_round(1, 1, [Kind.KILL_BROKER, Kind.RESTART_BROKER], SIZE).strikes) == 1


def test_a_close_that_ends_the_session_has_such_a_code() -> None:
    strike = plan_round(1, 0, [Kind.CLOSE_ENDING], SIZE).strikes[0]

    assert int(strike.option) in ENDING_CODES
    assert strike.option in str(strike)


def test_without_any_kind_there_is_no_round() -> None:
    with pytest.raises(ValueError, match="no fault"):
        plan_round(1, 0, [], SIZE)


@pytest.mark.parametrize(
    ("strikes", "unread"),
    [
        ([(Kind.OP_9_NEW_SESSION, 0)], set()),
        ([(Kind.CLOSE_ENDING, 0), (Kind.KILL_BROKER, 0)], set()),
        ([(Kind.CLOSE_ENDING, 0), (Kind.CUT_WORKER_LINK, 0)], set()),
        ([(Kind.OP_9_NEW_SESSION, 0), (Kind.DROP, 1)], set()),
        ([(Kind.OP_9_NEW_SESSION, 1), (Kind.DROP, 1)], {1}),
    ],
)
def test_the_end_of_a_session_excuses_nothing_unless_something_else_befell_its_shard(
    strikes: list[tuple[Kind, int]], unread: set[int]
) -> None:
    planned = Round(0, tuple(Strike(kind, 0.0, 0, shard, 1.0) for kind, shard in strikes))

    assert planned.unread_shards == unread


def test_two_of_a_kind_strike_two_processes_or_two_shards() -> None:
    rounds = [plan_round(seed, 1, [Kind.KILL_WORKER, Kind.CLOSE], SIZE) for seed in range(40)]
    twins = [one.strikes for one in rounds if len(one.kinds) == 1]

    assert {strikes[0].kind for strikes in twins} == {Kind.KILL_WORKER, Kind.CLOSE}
    for first, second in twins:
        place = "target" if first.kind is Kind.KILL_WORKER else "shard"
        assert getattr(first, place) != getattr(second, place)


def test_the_broker_is_struck_once_and_one_spared_process_is_never_struck_twice() -> None:
    lonely = Size(coordinators=2, spared_count=1)
    for seed in range(20):
        assert len(plan_round(seed, 1, [Kind.KILL_BROKER, Kind.ALARM], SIZE).strikes) == 1
        assert len(plan_round(seed, 1, [Kind.KILL_COORDINATOR, Kind.PAUSE_COORDINATOR], lonely).kinds) == 2
