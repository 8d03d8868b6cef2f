"""When dispatches were sent and handled."""

from __future__ import annotations

import pytest

from ops.chaos.timeline import Timeline
from ops.chaos.verdict import HandledDispatch, SentDispatch


@pytest.fixture
def timeline() -> Timeline:
    return Timeline()


def handle(timeline: Timeline, *times: float, shard: int = 0, is_first: bool = True) -> None:
    for at in times:
        record = HandledDispatch("s", 1, at, shard, 7, replayed=not is_first, redelivered=False)
        timeline.on_handled(record, sent_at=at - 0.5, is_first=is_first)


def test_the_largest_gap_may_begin_before_and_end_after_the_time_in_question(timeline: Timeline) -> None:
    handle(timeline, 1.0, 2.0, 5.0, 5.5, 9.0)

    assert timeline.largest_gap_s(0, 2.5, 4.0) == 3.0
    assert timeline.largest_gap_s(0, 5.1, 5.2) == 0.5
    assert timeline.largest_gap_s(0, 0.0, 10.0) == 3.5


def test_a_shard_that_was_seen_less_than_twice_has_no_gap(timeline: Timeline) -> None:
    handle(timeline, 1.0)

    assert timeline.largest_gap_s(0, 0.0, 9.0) is None
    assert timeline.largest_gap_s(1, 0.0, 9.0) is None


def test_buckets_count_all_shards_and_leave_out_what_begins_and_does_not_end(timeline: Timeline) -> None:
    handle(timeline, 0.1, 0.2, 0.6, 1.1)
    handle(timeline, 0.3, 0.99, shard=1)

    assert list(timeline.bucket_counts(0.0, 1.1, 0.5)) == [3, 2]


def test_repetitions_are_found_by_shard_and_time_and_are_no_first_handlings(timeline: Timeline) -> None:
    handle(timeline, 1.0, 2.0)
    handle(timeline, 3.0, 8.0, is_first=False)
    handle(timeline, 3.5, shard=1, is_first=False)

    assert [one.at for one in timeline.repeated([0], 2.5, 5.0)] == [3.0]
    assert timeline.handled_count(0.0, 9.0) == 2


def test_what_was_sent_before_a_kill_is_counted_for_its_shards_only(timeline: Timeline) -> None:
    for shard, at in ((0, 1.0), (0, 1.9), (1, 1.95), (2, 1.99)):
        timeline.on_sent(SentDispatch("s", shard, 1, "MESSAGE_CREATE", at))

    assert timeline.sent_count([0, 1], 1.85, 2.0) == 2


def test_what_a_former_holder_published_is_late_when_its_successor_was_heard_long_before(timeline: Timeline) -> None:
    for at, token, is_first in ((1.0, 7, True), (2.0, 8, True), (2.1, 7, True), (3.0, 7, True), (3.1, 7, False)):
        record = HandledDispatch("s", 1, at, 0, token, replayed=False, redelivered=True)
        timeline.on_handled(record, sent_at=0.5, is_first=is_first)

    assert timeline.late_count == 1


def test_the_newest_that_was_handled_is_known_by_when_it_was_sent(timeline: Timeline) -> None:
    handle(timeline, 4.0, 3.0)

    assert timeline.newest_sent_at == 3.5
