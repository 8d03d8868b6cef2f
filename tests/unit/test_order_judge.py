"""The judge of `benchmarks.ordering` sees what is out of order, lost, or done again."""

from __future__ import annotations

from benchmarks.ordering import Start, judge


def start(guild: int, seq: int, at: float) -> Start:
    return Start(guild, seq, at, 0.0, 0.0)


def test_a_later_event_of_the_guild_that_starts_first_is_an_inversion() -> None:
    found = judge([(1, 1), (1, 2), (2, 3)], [start(2, 3, 1), start(1, 2, 2), start(1, 1, 3)])
    assert (found.inversions, found.lost, found.again) == (1, 0, 0)


def test_what_never_started_is_lost() -> None:
    assert judge([(1, 1), (1, 2)], [start(1, 2, 1)]).lost == 1


def test_of_what_starts_again_only_the_first_start_counts() -> None:
    found = judge([(1, 1), (1, 2)], [start(1, 1, 1), start(1, 2, 2), start(1, 1, 3)])
    assert (found.inversions, found.lost, found.again) == (0, 0, 1)
