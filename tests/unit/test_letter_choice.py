"""Which dead letters are meant."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus.dead_letter import DeadLetter
from ops.letter_choice import LetterChoice, check_message_id, duration_s

LETTER = DeadLetter("s:1", "MESSAGE_CREATE", {"reason": "It is no JSON", "received_at": 100.0}, {}, b"")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"message_ids": frozenset({"s:1", "s:2"})},
        {"event_type": "MESSAGE_CREATE"},
        {"reason": "no json"},
        {"older_than_s": 9.0},
        {"message_ids": frozenset({"s:1"}), "event_type": "MESSAGE_CREATE", "reason": "It", "older_than_s": 1.0},
    ],
)
def test_a_letter_is_meant_if_all_that_is_given_matches(given: dict[str, Any]) -> None:
    assert LetterChoice(**given).matches(LETTER, now=110.0)


@pytest.mark.parametrize(
    "given",
    [
        {"message_ids": frozenset({"s:11"})},
        {"event_type": "MESSAGE"},
        {"reason": "timeout"},
        {"older_than_s": 10.0},
        {"event_type": "MESSAGE_CREATE", "reason": "timeout"},
    ],
)
def test_a_letter_is_not_meant_if_one_thing_does_not_match(given: dict[str, Any]) -> None:
    assert not LetterChoice(**given).matches(LETTER, now=110.0)


def test_a_letter_of_unknown_age_is_not_old() -> None:
    assert not LetterChoice(older_than_s=0.0).matches(DeadLetter(None, None, {}, {}, b""), now=1e9)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("1d12h", 129_600), ("2w", 1_209_600)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "7", "d", "7x", "-1d", "7 d", "1d 2h", "infd", "1e3s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration: write a number and a unit, as in 90s"):
        duration_s(text)


def test_message_ids_have_a_form() -> None:
    assert check_message_id("abc:12") == "abc:12"
    for text in ("abc", "abc:", ":1", "abc:x", "a b:1", "abc:1:2"):
        with pytest.raises(ValueError, match="is no message id"):
            check_message_id(text)
