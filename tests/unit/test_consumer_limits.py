"""Limits of event types: how they are written, and that they let in what has room and the rest in order."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.limits import TypeLimits, parse_limits

KNOWN = frozenset({"MESSAGE_CREATE", "TYPING_START"})


def test_limits_are_read() -> None:
    assert parse_limits("", KNOWN) == {}
    assert parse_limits(" MESSAGE_CREATE=10, TYPING_START = 1,", KNOWN) == {"MESSAGE_CREATE": 10, "TYPING_START": 1}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("MESSAGE_CREATE", "'MESSAGE_CREATE' is not like MESSAGE_CREATE=10"),
        ("MESSAGE_CREATE=0", "give a number from 1 to 10000"),
        ("MESSAGE_CREATE=-1", "is not like"),
        ("MESSAGE_CREATE=²", "is not like"),
        ("MESSAGE_CREATE=10001", "is not like"),
        ("message_create=1", "there is no event type 'message_create': did you mean MESSAGE_CREATE"),
        ("=1", "there is no event type ''"),
        ("TYPING_START=1,TYPING_START=2", "TYPING_START has two limits"),
    ],
)
def test_wrong_limits_are_sentences(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r"give|mean|write") as raised:
        parse_limits(text, KNOWN)
    assert sentence in str(raised.value)


@given(st.lists(st.sampled_from("AAABC"), max_size=40), st.randoms(use_true_random=False))
def test_never_more_than_the_limit_and_each_type_in_order(types: list[str], random: object) -> None:
    limits = TypeLimits({"A": 2, "B": 1})
    inside: list[tuple[str, int]] = []
    began: list[tuple[str, int]] = []

    def go(one: tuple[str, int]) -> None:
        inside.append(one)
        began.append(one)

    for number, event_type in enumerate(types):
        limits.enter(event_type, functools.partial(go, (event_type, number)))
    while inside:
        assert [name for name, _ in inside].count("A") <= 2
        assert [name for name, _ in inside].count("B") <= 1
        ended = inside.pop(random.randrange(len(inside)))  # type: ignore[attr-defined]
        limits.leave(ended[0])
    assert len(began) == len(types)
    for name in "ABC":
        numbers = [number for event_type, number in began if event_type == name]
        assert numbers == sorted(numbers)
