"""The judgement of a chaos run: ledger against records."""

from __future__ import annotations

from typing import Any

from ops.chaos.timeline import Timeline
from ops.chaos.verdict import (
    Comparison,
    EndedSession,
    HandledDispatch,
    SentDispatch,
    doubled_shards,
    ended_by_faults,
    orphans,
    percentile,
    sessions_lost_by_us,
)


def sent(*seqs: int, session: str = "s", event_type: str = "MESSAGE_CREATE") -> list[SentDispatch]:
    return [SentDispatch(session, 0, seq, event_type, 1.0) for seq in seqs]


def handled(*seqs: int, session: str = "s", token: int = 1, replayed: bool = False, redelivered: bool = False) -> Any:
    return [HandledDispatch(session, seq, 2.0, 0, token, replayed, redelivered) for seq in seqs]


def test_what_nobody_handled_is_missing_until_somebody_does() -> None:
    comparison = Comparison()
    comparison.add_sent(sent(1, 2, 3))
    comparison.add_handled(handled(1, 3))
    assert comparison.missing_ids({}) == ({"s:2"}, set())

    comparison.add_handled(handled(2))

    assert comparison.missing_ids({}) == (set(), set())
    assert (comparison.sent_count, comparison.handled_count) == (3, 3)


def test_a_record_may_come_before_its_row_of_the_ledger() -> None:
    comparison = Comparison()
    comparison.add_handled(handled(1))
    comparison.add_sent(sent(1, 2))
    comparison.add_handled([])

    assert comparison.missing_ids({}) == ({"s:2"}, set())


def test_what_the_ledger_never_had_is_unknown_and_what_names_another_dispatch_is_misnamed() -> None:
    comparison = Comparison()
    comparison.add_sent(sent(1, 2, 3))
    of_another_shard = HandledDispatch("s", 2, 2.0, 1, 1, replayed=False, redelivered=False)
    with_another_body = HandledDispatch("s", 3, 2.0, 0, 1, replayed=False, redelivered=False, misnamed=True)
    comparison.add_handled([*handled(1), of_another_shard, with_another_body, *handled(9), *handled(1, session="t")])

    assert (comparison.unknown_count, comparison.misnamed_count) == (2, 2)


def test_ready_and_resumed_belong_to_a_connection_and_are_left_out() -> None:
    comparison = Comparison()
    comparison.add_sent([*sent(1, event_type="READY"), *sent(2), *sent(3, event_type="RESUMED")])
    comparison.add_handled(handled(1, 2))

    assert (comparison.sent_count, comparison.handled_count, comparison.missing_ids({})[0]) == (1, 1, set())


def test_second_handlings_count_by_cause() -> None:
    comparison = Comparison()
    comparison.add_sent(sent(1))
    comparison.add_handled(handled(1))
    comparison.add_handled(handled(1, replayed=True) + handled(1, redelivered=True) + handled(1))

    assert comparison.duplicates == {"replayed": 1, "redelivered": 1, "published_again": 1}


def test_what_is_handled_first_after_its_successor_is_reordered_and_a_repetition_is_not() -> None:
    comparison = Comparison()
    comparison.add_sent(sent(1, 2, 3))
    comparison.add_handled(handled(1, 3, 2, 1, 3))

    assert comparison.reordered_count == 1
    assert "s:2" in comparison.reordered_examples[0]


def test_an_older_session_of_the_shard_comes_before_the_newer_one() -> None:
    comparison = Comparison()
    comparison.add_sent(sent(1, 2, session="old") + sent(1, session="new"))
    comparison.add_handled(handled(1, session="old") + handled(1, session="new") + handled(2, session="old"))

    assert comparison.reordered_count == 1


def test_interactions_have_an_order_of_their_own_and_overtake_without_making_others_stale() -> None:
    comparison = Comparison()
    comparison.add_sent(sent(1) + sent(2, event_type="INTERACTION_CREATE") + sent(3))
    comparison.add_handled(handled(2, token=5) + handled(1, token=4) + handled(3, token=5))

    assert (comparison.reordered_count, comparison.stale_count) == (0, 0)


def test_a_smaller_fencing_token_after_a_larger_one_is_stale_unless_the_broker_sent_it_again() -> None:
    comparison = Comparison()
    comparison.add_sent(sent(1, 2, 3))
    comparison.add_handled(handled(1, token=5) + handled(2, token=4, redelivered=True) + handled(3, token=4))

    assert comparison.stale_count == 1


def test_what_is_exempt_is_neither_awaited_nor_counted() -> None:
    comparison = Comparison(is_exempt=lambda message_id: message_id == "s:2")
    comparison.add_sent(sent(1, 2, 3))
    comparison.add_handled(handled(1, 2, 3))

    assert (comparison.sent_count, comparison.handled_count, comparison.missing_ids({})[0]) == (2, 2, set())


def test_a_watcher_hears_of_every_dispatch_and_which_handling_was_the_first() -> None:
    timeline = Timeline()
    comparison = Comparison(watcher=timeline)
    comparison.add_sent([*sent(1, event_type="READY"), *sent(2, 3)])
    comparison.add_handled(handled(1, 2, 3) + handled(3, replayed=True, token=2))

    assert (timeline.sent_count([0], 0.0, 9.0), timeline.handled_count(0.0, 9.0)) == (2, 2)
    assert [(one.shard, one.was_replayed) for one in timeline.repetitions] == [(0, True)]
    assert timeline.tokens == {0: {1, 2}}


def test_only_beyond_what_was_kept_of_an_ended_session_is_forfeited() -> None:
    comparison = Comparison()
    comparison.add_sent(sent(1, 2, 3))

    lost, forfeited = comparison.missing_ids({"s": EndedSession("s", kept_seq=2)})

    assert (lost, forfeited) == ({"s:1", "s:2"}, {"s:3"})


def test_discords_will_excuses_only_the_tail_of_sessions_that_may_be_forfeited() -> None:
    sessions = [
        _session("excused", reason="op 9 false by a fault"),
        _session("strict", reason="closed by the gateway with 4009"),
        _session("ours", reason="nobody resumed it in time"),
        _session("alive", reason=None),
    ]

    ended = ended_by_faults(sessions, may_forfeit={"excused", "ours"})

    assert ended == {"excused": EndedSession("excused", 5), "strict": EndedSession("strict", 9)}
    assert sessions_lost_by_us(sessions) == {"nobody resumed it in time": 1}


def test_a_session_that_nobody_serves_beside_a_served_one_is_an_orphan() -> None:
    sessions = [
        _session("left", state="disconnected"),
        _session("served", state="connected"),
        _session("waiting", state="disconnected", shard=1),
    ]

    assert orphans(sessions) == {"left"}
    assert doubled_shards([*sessions, _session("second", state="connected")]) == {0}


def test_a_percentile_of_nothing_is_none() -> None:
    assert percentile([], 0.5) is None
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 1.0) == 3.0


def _session(session: str, *, reason: str | None = None, state: str = "ended", shard: int = 0) -> dict[str, Any]:
    return {
        "session": session,
        "shard": shard,
        "state": state,
        "acked_seq": 5,
        "last_seq": 9,
        "end_reason": reason,
    }
