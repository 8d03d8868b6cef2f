"""What the benchmarks of answered interactions count."""

from __future__ import annotations

from typing import Any

from benchmarks.answers import SentInteraction, answer_figures


def answer(interaction_id: str, at: float, outcome: str = "accepted") -> dict[str, Any]:
    return {"n": 1, "interaction_id": interaction_id, "type": 4, "outcome": outcome, "at": at}


def test_the_first_answer_counts_and_what_nobody_answered_is_counted_too() -> None:
    sent = [SentInteraction("1", 10.0), SentInteraction("2", 10.0), SentInteraction("3", 11.0)]
    figures = answer_figures(sent, [answer("1", 10.1), answer("3", 14.5, "late"), answer("3", 15.0, "late")])
    assert (figures["interactions"], figures["unanswered"]) == (3, 1)
    assert (figures["answered_late"], figures["answered_twice"]) == (1, 1)
    assert (figures["answer_p50_ms"], figures["answer_max_ms"]) == (3500.0, 3500.0)


def test_answers_to_others_are_left_out() -> None:
    figures = answer_figures([SentInteraction("1", 10.0)], [answer("9", 10.0), answer("1", 10.2)])
    assert (figures["unanswered"], figures["answered_twice"], figures["answer_max_ms"]) == (0, 0, 200.0)
