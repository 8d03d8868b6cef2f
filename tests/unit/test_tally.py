"""The comparison of the simulator's ledger with a bot's record."""

from __future__ import annotations

import pytest

from ops.tally import takeover_s, tally


def test_what_was_sent_and_never_handled_is_lost_by_type() -> None:
    ledger = [("s:1", "MESSAGE_CREATE", 1.0), ("s:2", "TYPING_START", 1.0), ("s:3", "TYPING_START", 1.0)]

    result = tally(ledger, [("s:1", 1.5)])

    assert (result.sent, result.handled, result.lost, result.duplicated) == (3, 1, 2, 0)
    assert result.lost_by_type == {"TYPING_START": 2}


def test_what_was_handled_again_is_duplicated_and_its_first_time_counts() -> None:
    ledger = [("s:1", "MESSAGE_CREATE", 1.0), ("s:2", "MESSAGE_CREATE", 1.0)]

    result = tally(ledger, [("s:1", 1.25), ("s:2", 1.25), ("s:1", 9.0)])

    assert (result.handled, result.lost, result.duplicated) == (2, 0, 1)
    assert result.p50_ms == pytest.approx(250)


def test_ready_and_resumed_belong_to_a_connection_and_are_left_out() -> None:
    ledger = [("s:1", "READY", 1.0), ("s:2", "RESUMED", 1.0), ("s:3", "MESSAGE_CREATE", 1.0)]

    result = tally(ledger, [("s:1", 1.0), ("s:3", 1.0)])

    assert (result.sent, result.handled, result.lost) == (1, 1, 0)


def test_a_record_that_the_ledger_does_not_know_counts_for_nothing() -> None:
    assert tally([], [("s:1", 1.0)]).handled == 0
    assert tally([], []).p50_ms is None


def test_a_takeover_lasts_until_the_last_of_its_sessions_is_resumed() -> None:
    ledger = [
        ("a:1", "RESUMED", 9.0),  # before
        ("a:5", "RESUMED", 10.5),
        ("a:9", "RESUMED", 11.0),  # the same session again
        ("b:4", "MESSAGE_CREATE", 10.1),
        ("b:5", "RESUMED", 12.0),
    ]

    assert takeover_s(ledger, since=10.0, session_count=1) == pytest.approx(0.5)
    assert takeover_s(ledger, since=10.0, session_count=2) == pytest.approx(2.0)
    assert takeover_s(ledger, since=10.0, session_count=3) is None
