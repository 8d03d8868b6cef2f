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
def test_a_pair_has_two_kinds_and_at_most_one_is_the_brokers(seed: int, number: int) -> None:
    planned = plan_round(seed, number, ALL, SIZE)

    assert len(planned.kinds) == 2
    assert len(planned.kinds & BROKER_KINDS) <= 1


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
    ("kinds", "may_forfeit"),
    [
        ((Kind.OP_9_NEW_SESSION,), False),
        ((Kind.OP_9_NEW_SESSION, Kind.KILL_CONSUMER), False),
        ((Kind.CLOSE_ENDING, Kind.KILL_COORDINATOR), False),
        ((Kind.CLOSE_ENDING, Kind.CUT_CONSUMER_LINK), False),
        ((Kind.CLOSE_ENDING, Kind.KILL_WORKER), True),
        ((Kind.OP_9_NEW_SESSION, Kind.CUT_WORKER_LINK), True),
        ((Kind.FREEZE_WORKER,), True),
        ((Kind.KILL_WORKER, Kind.KILL_BROKER), False),
    ],
)
def test_a_session_is_forfeited_only_if_its_worker_may_not_have_read_it(
    kinds: tuple[Kind, ...], may_forfeit: bool
) -> None:
    strikes = tuple(Strike(kind, 0.0, 0, 0, 1.0) for kind in kinds)

    assert Round(0, strikes).may_forfeit is may_forfeit
