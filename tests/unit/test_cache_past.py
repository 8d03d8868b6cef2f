"""How far a copy of the cache has come, and which events it remembers."""

from __future__ import annotations

from typing import Any

from consumers.cache_past import CachePast


def test_a_dispatch_has_passed_when_one_of_its_session_behind_it_was_applied() -> None:
    past = CachePast()
    past.note("s", 5, None)
    assert past.has_passed("s", 5)
    assert past.has_passed("s", 4)
    assert not past.has_passed("s", 6)
    assert not past.has_passed("other", 1)
    past.note("s", 3, None)
    assert past.has_passed("s", 5), "a replay does not go back"


def test_the_first_event_of_a_dispatch_stays() -> None:
    past, (first, second) = CachePast(), _events(2)
    past.note("s", 1, first)
    past.note("s", 1, second)
    assert past.event("s:1") is first
    assert past.event("s:2") is None


def test_what_was_passed_before_gets_no_event_later_because_its_old_values_would_be_newer() -> None:
    past, (early, again, late) = CachePast(event_count=1), _events(3)
    past.note("s", 1, early)
    past.note("s", 2, None)
    past.note("s", 3, late)
    for seq in (1, 2):
        past.note("s", seq, again)
    assert [past.event(f"s:{seq}") for seq in (1, 2, 3)] == [None, None, late]


def test_the_oldest_are_forgotten() -> None:
    past = CachePast(session_count=2, event_count=2)
    for number, event in enumerate(_events(3)):
        past.note(f"s{number}", 1, event)
    past.note("s1", 2, None)
    past.note("s3", 1, None)
    assert past.event("s0:1") is None
    assert past.event("s2:1") is not None
    assert past.has_passed("s1", 1), "the session that was heard of last stays"
    assert not past.has_passed("s2", 1)


def _events(count: int) -> list[Any]:
    return [object() for _ in range(count)]
