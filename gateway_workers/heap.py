"""Gives memory back that a full window took: else it stays with the process, scattered among what lives longer."""

from __future__ import annotations

import ctypes

SWOLLEN_BYTES = 4 << 20
DRAINED_BYTES = 512 << 10


class Heap:
    """`look` now and then."""

    def __init__(self) -> None:
        self._is_swollen = False

    def look(self, held_bytes: int) -> None:
        """The window holds so much; when it was much more before, the system gets what is free."""
        if held_bytes > SWOLLEN_BYTES:
            self._is_swollen = True
        elif self._is_swollen and held_bytes < DRAINED_BYTES:
            self._is_swollen = False
            _give_back()


def _give_back() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others have none
    if trim is not None:
        trim(0)
