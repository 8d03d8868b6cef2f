"""Whether memory stays flat over a soak."""

from __future__ import annotations

import os

from ops.chaos.memory import MemorySample, growth, peaks_mb, resident_bytes

MIB = 1024 * 1024


def samples(*sizes_mb: int, place: str = "worker 1", age_s: float = 60.0) -> list[MemorySample]:
    return [MemorySample(place, float(at_s), age_s, size * MIB) for at_s, size in enumerate(sizes_mb)]


def test_the_last_quarter_is_held_against_the_second() -> None:
    assert growth(samples(10, 10, 50, 50, 99, 99, 60, 60), duration_s=8) == {"worker 1": 1.2}


def test_a_process_that_still_loads_does_not_count() -> None:
    assert growth(samples(50, 50, 10, 10, 50, 50, 50, 50, age_s=1.0), duration_s=8) == {}


def test_a_place_without_samples_in_both_quarters_has_no_growth() -> None:
    assert growth(samples(50, 50), duration_s=8) == {}


def test_the_peak_is_the_most_that_was_seen() -> None:
    assert peaks_mb(samples(50, 70, 60)) == {"worker 1": 70.0}


def test_a_living_process_has_resident_memory_and_a_gone_one_has_none() -> None:
    assert (resident_bytes(os.getpid()) or 0) > MIB
    assert resident_bytes(2**22 + 1) is None
