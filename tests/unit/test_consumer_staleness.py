"""Which dispatches are too old, on clocks that agree and on clocks that do not."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.dispatch import Dispatch
from consumers.frame import Frame
from consumers.staleness import Skip, Staleness

NOW = 1_800_000_000.0
EPOCH = 1_420_070_400.0


def interaction(made_ago_s: float, *, received_ago_s: float | None = None, before: int = 0, **fields: Any) -> Frame:
    number = int((NOW - made_ago_s - EPOCH) * 1000) << 22
    received_at = NOW - (made_ago_s if received_ago_s is None else received_ago_s)
    return Frame(_dispatch("INTERACTION_CREATE", received_at, **fields), {"id": str(number)}, unsettled_before=before)


def message(received_ago_s: float, **fields: Any) -> Frame:
    return Frame(_dispatch("MESSAGE_CREATE", NOW - received_ago_s, **fields), {})


def _dispatch(event_type: str, received_at: float, **fields: Any) -> Dispatch:
    plain = {"replayed": False, "redelivered": False, **fields}
    return Dispatch(0, 1, "s", 1, event_type, "s:1", 1, received_at=received_at, **plain)


def test_an_interaction_past_its_three_seconds_is_stale() -> None:
    staleness = Staleness()
    assert staleness.skip(interaction(2.5), NOW) is None
    assert staleness.skip(interaction(3.5), NOW) is Skip.STALE_INTERACTION


@pytest.mark.parametrize("fields", [{"redelivered": True}, {"attempt": 2}, {"before": 2}])
def test_one_that_may_have_been_answered_lives_as_long_as_its_token(fields: dict[str, Any]) -> None:
    staleness = Staleness()
    assert staleness.skip(interaction(14 * 60, **fields), NOW) is None
    assert staleness.skip(interaction(16 * 60, **fields), NOW) is Skip.STALE_INTERACTION


def test_without_a_bound_for_the_first_answer_the_token_counts() -> None:
    staleness = Staleness(max_interaction_age_s=0)
    assert staleness.skip(interaction(14 * 60), NOW) is None
    assert staleness.skip(interaction(16 * 60), NOW) is Skip.STALE_INTERACTION


@pytest.mark.parametrize("skew_s", [-3600.0, 40.0, 3600.0])
def test_discords_clock_may_differ_from_ours(skew_s: float) -> None:
    staleness = Staleness()
    assert staleness.skip(interaction(skew_s + 0.5, received_ago_s=0.2), NOW) is None
    assert staleness.skip(interaction(skew_s + 5, received_ago_s=4.7), NOW) is Skip.STALE_INTERACTION
    assert staleness.skip(interaction(skew_s + 1, received_ago_s=0.7), NOW) is None


def test_one_that_a_worker_read_late_or_that_was_replayed_counts_from_its_birth() -> None:
    staleness = Staleness()
    assert staleness.skip(interaction(0.3, received_ago_s=0.1), NOW) is None
    assert staleness.skip(interaction(20, received_ago_s=0.1), NOW) is Skip.STALE_INTERACTION
    assert Staleness().skip(interaction(20, received_ago_s=0.1, replayed=True), NOW) is Skip.STALE_INTERACTION


def test_an_unreadable_id_counts_from_the_receipt() -> None:
    frame = Frame(_dispatch("INTERACTION_CREATE", NOW - 1), {"id": "x"})
    late = Frame(_dispatch("INTERACTION_CREATE", NOW - 4), {"id": "x"})
    assert Staleness().skip(frame, NOW) is None
    assert Staleness().skip(late, NOW) is Skip.STALE_INTERACTION


def test_a_backlog_is_skipped_by_policy_only_and_never_what_was_begun() -> None:
    assert Staleness().skip(message(10**6), NOW) is None
    staleness = Staleness(max_age_s=60)
    assert staleness.skip(message(59), NOW) is None
    assert staleness.skip(message(61), NOW) is Skip.MAX_AGE
    assert staleness.skip(message(61, attempt=2), NOW) is None
