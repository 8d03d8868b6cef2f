"""The identify gate keeps identify buckets apart and the daily budget whole."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.identify_gate import (
    BARE_SPACING_S,
    BUDGET_DAY_S,
    IDENTIFY_SPACING_S,
    LONG_PAST_S,
    LONGEST_SPACING_S,
    PERMIT_VALID_S,
    REFRESH_INTERVAL_S,
    RESET_MARGIN_S,
    SETTLED_S,
    IdentifyGate,
    IdentifyLimit,
    PermitNews,
    identify_reserve,
)

LIMIT = IdentifyLimit(total=1000, remaining=1000, reset_after_s=3600.0, max_concurrency=1)


def gate(*, reserve: int | None = None, **changes: float) -> IdentifyGate:
    return IdentifyGate(dataclasses.replace(LIMIT, **changes), asked_at=0.0, reserve=reserve)  # type: ignore[arg-type]


def test_the_first_request_is_granted_for_half_a_second() -> None:
    permit = gate().request(0, 10.0, recovery=False)
    assert permit.granted
    assert permit.valid_s == PERMIT_VALID_S


def test_the_second_request_of_a_bucket_waits_exactly_one_spacing() -> None:
    tested = gate()
    tested.request(0, 10.0, recovery=False)
    permit = tested.request(1, 11.0, recovery=False)
    assert not permit.granted
    assert permit.retry_after_s == pytest.approx(IDENTIFY_SPACING_S - 1.0)
    assert "identify bucket 0" in permit.reason
    assert tested.request(1, 11.0 + permit.retry_after_s, recovery=False).granted


def test_two_identifies_are_never_five_seconds_or_less_apart() -> None:
    # The first is sent at the end of its permit, the second at once.
    assert IDENTIFY_SPACING_S - PERMIT_VALID_S > 5.0


def test_a_longer_permit_keeps_its_bucket_closed_for_as_much_longer() -> None:
    tested = gate()
    assert tested.request(0, 10.0, recovery=False, valid_s=3.0).valid_s == 3.0
    used_by = 13.0
    assert not tested.request(1, used_by + 5.0, recovery=False).granted
    assert tested.request(1, used_by + BARE_SPACING_S, recovery=False).granted


def test_buckets_do_not_wait_for_each_other() -> None:
    tested = gate(max_concurrency=16)
    assert all(tested.request(shard, 10.0, recovery=False).granted for shard in range(16))
    assert not tested.request(16, 10.0, recovery=False).granted


def test_whoever_asks_first_after_the_slot_opened_gets_it() -> None:
    tested = gate()
    tested.request(0, 0.0, recovery=False)
    assert tested.request(2, IDENTIFY_SPACING_S, recovery=False).granted
    assert not tested.request(1, IDENTIFY_SPACING_S, recovery=False).granted


def test_recovery_does_not_jump_the_spacing() -> None:
    tested = gate()
    tested.request(0, 10.0, recovery=False)
    assert not tested.request(1, 10.0, recovery=True).granted


def test_fresh_identifies_stop_at_the_reserve_and_recoveries_go_on() -> None:
    tested = gate(remaining=101, max_concurrency=1000)
    assert tested.request(0, 1.0, recovery=False).granted
    refused = tested.request(1, 1.0, recovery=False)
    assert not refused.granted
    assert "100 kept for recovery" in refused.reason
    assert tested.request(1, 1.0, recovery=True).granted


def test_without_budget_even_a_recovery_waits_until_the_reset() -> None:
    tested = gate(remaining=0, reset_after_s=100.0)
    permit = tested.request(0, 40.0, recovery=True)
    assert not permit.granted
    assert permit.retry_after_s == pytest.approx(60.0 + RESET_MARGIN_S)
    assert tested.request(0, 40.0 + permit.retry_after_s, recovery=True).granted
    assert tested.remaining == 999


def test_the_reset_refills_once_and_the_next_one_is_a_day_later() -> None:
    tested = gate(remaining=0, reset_after_s=100.0)
    tested.request(0, 100.0 + RESET_MARGIN_S, recovery=False)
    assert tested.reset_at == 100.0 + RESET_MARGIN_S + BUDGET_DAY_S


def test_a_gate_on_hold_grants_after_one_spacing_and_with_a_fresh_count_only() -> None:
    tested = gate()
    tested.hold(100.0)
    first = tested.request(0, 100.0, recovery=True)
    assert first.retry_after_s == pytest.approx(LONGEST_SPACING_S)
    after = 100.0 + LONGEST_SPACING_S
    assert not tested.request(0, after, recovery=True).granted
    tested.learn(dataclasses.replace(LIMIT, remaining=7), asked_at=100.0 + SETTLED_S)
    assert tested.request(0, after, recovery=True).granted
    assert tested.remaining == 6


def test_a_count_from_before_the_takeover_settled_is_not_trusted() -> None:
    tested = gate()
    tested.hold(100.0)
    tested.learn(LIMIT, asked_at=100.0 + SETTLED_S - 0.1)
    assert not tested.request(0, 100.0 + LONGEST_SPACING_S, recovery=True).granted
    assert tested.refresh_at <= 100.0 + SETTLED_S + 5.0


def test_after_a_hold_discord_is_asked_before_the_first_slot_opens() -> None:
    tested = gate()
    tested.hold(100.0)
    assert 100.0 < tested.refresh_at < 100.0 + LONGEST_SPACING_S


# What other coordinators granted


def news(shard: int = 0, **changes: float) -> PermitNews:
    known = PermitNews(shard=shard, max_concurrency=4, remaining=500, total=1000, reset_after_s=7200.0)
    return dataclasses.replace(known, **changes)  # type: ignore[arg-type]


def test_a_successor_keeps_the_bucket_of_a_predecessors_permit_closed_and_no_other() -> None:
    tested = gate(max_concurrency=4)
    tested.learn_permit(news(shard=5), read_at=100.0, age_s=0.0)
    tested.lead(100.5)
    assert tested.request(2, 100.5, recovery=False).granted
    refused = tested.request(9, 100.5, recovery=True)
    assert refused.retry_after_s == pytest.approx(IDENTIFY_SPACING_S - 0.5)
    assert tested.request(9, 100.0 + IDENTIFY_SPACING_S, recovery=True).granted


def test_a_predecessors_permit_that_is_long_past_changes_nothing() -> None:
    tested = gate(max_concurrency=4, remaining=900)
    tested.learn_permit(news(), read_at=100.0, age_s=LONG_PAST_S + 1)
    assert tested.request(0, 100.0, recovery=False).granted
    assert tested.remaining == 899


def test_a_permit_whose_age_is_unsure_counts_from_when_it_was_read() -> None:
    tested = gate(max_concurrency=4)
    tested.learn_permit(news(), read_at=100.0, age_s=LONG_PAST_S - 1)
    assert not tested.request(0, 100.0 + IDENTIFY_SPACING_S - 0.1, recovery=False).granted


def test_a_predecessors_permit_under_another_max_concurrency_closes_all_buckets() -> None:
    tested = gate(max_concurrency=4)
    tested.learn_permit(news(max_concurrency=16), read_at=100.0, age_s=0.0)
    assert not any(tested.request(shard, 101.0, recovery=True).granted for shard in range(4))
    assert tested.request(1, 100.0 + IDENTIFY_SPACING_S, recovery=True).granted


def test_the_lower_budget_counts_until_discord_says_more() -> None:
    tested = gate(max_concurrency=4)
    tested.learn_permit(news(remaining=7), read_at=100.0, age_s=0.0)
    assert (tested.remaining, tested.reset_at) == (7, 7300.0)
    tested.learn_permit(news(remaining=900), read_at=101.0, age_s=0.0)
    assert tested.remaining == 7
    tested.lead(102.0)
    assert tested.refresh_at <= 102.0
    tested.learn(dataclasses.replace(LIMIT, remaining=950, max_concurrency=4), asked_at=102.0)
    assert tested.remaining == 948  # both permits may be too young for Discord's count


def test_a_successor_goes_on_by_the_budget_that_it_read_while_discord_does_not_answer() -> None:
    tested = gate(max_concurrency=4)
    tested.learn_permit(news(remaining=2), read_at=100.0, age_s=0.0)
    tested.lead(110.0)
    tested.refresh_failed(110.0)
    assert [tested.request(shard, 110.0, recovery=True).granted for shard in range(3)] == [True, True, False]


def test_a_stand_by_counts_a_new_day_by_what_it_read() -> None:
    tested = gate(max_concurrency=4, remaining=3, reset_after_s=50.0)
    tested.learn_permit(news(remaining=998), read_at=200.0, age_s=0.0)
    assert tested.remaining == 998


def test_permits_of_the_last_moments_are_subtracted_from_discords_count() -> None:
    tested = gate(max_concurrency=16)
    for shard in range(3):
        tested.request(shard, 10.0, recovery=False)
    tested.learn(dataclasses.replace(LIMIT, max_concurrency=16), asked_at=12.0)
    assert tested.remaining == 997
    tested.learn(dataclasses.replace(LIMIT, remaining=998, max_concurrency=16), asked_at=60.0)
    assert tested.remaining == 998


def test_another_max_concurrency_closes_all_buckets_for_the_longest_spacing() -> None:
    tested = gate()
    tested.request(0, 10.0, recovery=False)
    tested.learn(dataclasses.replace(LIMIT, max_concurrency=2), asked_at=12.0)
    assert not tested.request(1, 12.0 + LONGEST_SPACING_S - 0.1, recovery=False).granted
    assert tested.request(1, 12.0 + LONGEST_SPACING_S, recovery=False).granted


def test_discord_is_asked_now_and_then_and_more_often_when_little_is_left() -> None:
    plenty, little = gate(), gate(remaining=110)
    assert plenty.refresh_at == REFRESH_INTERVAL_S
    assert 0 < little.refresh_at < REFRESH_INTERVAL_S
    little.refresh_failed(50.0)
    assert 50.0 < little.refresh_at < 50.0 + REFRESH_INTERVAL_S


@pytest.mark.parametrize(
    ("total", "asked", "reserve"),
    [(1000, None, 100), (15, None, 1), (2, None, 1), (1, None, 0), (0, None, 0), (1000, 0, 0), (1000, 7, 7), (5, 9, 4)],
)
def test_the_reserve_leaves_at_least_one_fresh_identify_of_a_day(total: int, asked: int | None, reserve: int) -> None:
    assert identify_reserve(total, asked) == reserve


asks = st.lists(
    st.tuples(st.integers(0, 40), st.floats(0.0, 8.0), st.booleans(), st.sampled_from(["ask", "hold", "refresh"])),
    max_size=60,
)


@given(asks, st.integers(1, 16), st.integers(0, 30))
def test_no_order_of_requests_breaks_a_bucket_or_the_budget(
    steps: list[tuple[int, float, bool, str]], max_concurrency: int, remaining: int
) -> None:
    limit = IdentifyLimit(total=1000, remaining=remaining, reset_after_s=1e6, max_concurrency=max_concurrency)
    tested = IdentifyGate(limit, asked_at=0.0, reserve=5)
    now, sent = 0.0, []
    for shard, wait_s, recovery, what in steps:
        now += wait_s
        if what == "hold":
            tested.hold(now)
        elif what == "refresh":
            tested.learn(dataclasses.replace(limit, remaining=remaining - len(sent)), asked_at=now)
        elif tested.request(shard, now, recovery=recovery).granted:
            sent.append((shard % max_concurrency, now))
            assert recovery or remaining - len(sent) >= 5
    assert len(sent) <= remaining
    for bucket in range(max_concurrency):
        times = [at for one, at in sent if one == bucket]
        assert all(later - earlier >= IDENTIFY_SPACING_S - 1e-5 for earlier, later in itertools.pairwise(times))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=20), st.integers(1, 4))
def test_asking_again_after_the_told_wait_is_granted_if_nobody_else_asks(
    shards: list[int], max_concurrency: int
) -> None:
    tested = gate(max_concurrency=max_concurrency)
    now = 123456.789
    for shard in shards:
        permit = tested.request(shard, now, recovery=True)
        if not permit.granted:
            assert permit.retry_after_s > 0
            now += permit.retry_after_s
            assert tested.request(shard, now, recovery=True).granted
