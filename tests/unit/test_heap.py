"""Memory is given back once after a window was full, and not while it is in use."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from gateway_workers import heap
from gateway_workers.heap import DRAINED_BYTES, SWOLLEN_BYTES, Heap


def test_memory_is_given_back_once_when_a_full_window_has_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(heap, "_give_back", lambda: given.append(1))
    watched = Heap()
    for held, count in (
        (0, 0),
        (DRAINED_BYTES, 0),
        (SWOLLEN_BYTES + 1, 0),
        (DRAINED_BYTES, 0),
        (DRAINED_BYTES - 1, 1),
        (0, 1),
    ):
        watched.look(held)
        assert len(given) == count


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="glibc's")
def test_the_system_has_it_again() -> None:
    watched = Heap()
    kept = [bytes(1500) for _ in range(20_000)]
    kept, last = kept[-1:], kept[-1]
    full = resident_bytes()
    watched.look(SWOLLEN_BYTES + 1)
    watched.look(0)
    assert full - resident_bytes() > 10 << 20
    assert kept == [last]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
