"""A dispatch that comes twice: handled once, and again only if the first handling did not count."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.recent_keys import RecentKeys
from consumers.seen import SeenDispatches, Sighting


def test_a_second_copy_of_what_was_handled_is_known() -> None:
    seen = SeenDispatches()
    assert seen.begin("s:1") is Sighting.FIRST
    seen.end("s:1", handled=True)
    assert seen.begin("s:1") is Sighting.HANDLED
    assert seen.begin("s:2") is Sighting.FIRST


def test_a_second_copy_of_what_runs_learns_when_it_ended() -> None:
    seen, told = SeenDispatches(), []
    seen.begin("s:1")
    assert seen.begin("s:1") is Sighting.RUNNING
    seen.when_ended("s:1", lambda: told.append(seen.begin("s:1")))
    assert told == []
    seen.end("s:1", handled=True)
    assert told == [Sighting.HANDLED]


def test_of_the_copies_that_waited_for_a_failure_one_is_the_next_first() -> None:
    seen: SeenDispatches = SeenDispatches()
    told: list[Sighting] = []
    seen.begin("s:1")
    for _ in range(3):
        seen.when_ended("s:1", lambda: told.append(seen.begin("s:1")))
    seen.end("s:1", handled=False)
    assert told == [Sighting.FIRST, Sighting.RUNNING, Sighting.RUNNING]


def test_what_was_not_handled_is_no_duplicate() -> None:
    seen = SeenDispatches()
    seen.begin("s:1")
    seen.end("s:1", handled=False)
    assert seen.begin("s:1") is Sighting.FIRST


def test_what_runs_is_never_forgotten() -> None:
    seen = SeenDispatches(count=2)
    seen.begin("slow")
    for number in range(100):
        seen.begin(f"s:{number}")
        seen.end(f"s:{number}", handled=True)
    assert seen.begin("slow") is Sighting.RUNNING


@given(keys=st.lists(st.integers(0, 30).map(str)), count=st.integers(1, 8))
def test_recent_keys_knows_the_newest_and_is_bounded(keys: list[str], count: int) -> None:
    recent = RecentKeys(count)
    for index, key in enumerate(keys):
        recent.add(key)
        assert len(recent) <= 2 * count
        newest = set(keys[max(0, index + 1 - count) : index + 1])
        assert all(one in recent for one in newest)
    assert all(key in keys for key in map(str, range(31)) if key in recent)
