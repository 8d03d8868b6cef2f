"""Whose CPU it is: seconds by role, of processes that come and go."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from benchmarks.simulator_rate import cpu_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class CpuMeter:
    """`pids()` gives the processes that live now and their roles; `look` at the begin, before one ends, and at the end.

    What a process used before the first look does not count; one that comes later counts from its start.
    """

    def __init__(self, pids: Callable[[], Mapping[int, str]]) -> None:
        self._pids = pids
        self._roles = dict(pids())
        self._began = {pid: cpu_s(pid) for pid in self._roles}
        self._last = dict(self._began)

    def look(self) -> None:
        """Note what each has used until now."""
        for pid, role in self._pids().items():
            self._roles[pid] = role
            with suppress(OSError):  # it has just ended
                self._last[pid] = cpu_s(pid)

    def cores(self, seconds: float) -> dict[str, float]:
        """CPU seconds per second, by role."""
        used: dict[str, float] = {}
        for pid, last in self._last.items():
            used[self._roles[pid]] = used.get(self._roles[pid], 0.0) + last - self._began.get(pid, 0.0)
        return {role: round(total / seconds, 2) for role, total in sorted(used.items())}
