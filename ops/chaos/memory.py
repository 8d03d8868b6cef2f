"""Resident memory of the processes, and whether it stays flat. The decisions are pure; `resident_bytes` reads /proc."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GROWTH_LIMIT = 1.10
"""The last quarter's median over the second's."""
WARM_UP_S = 20.0
"""A process younger than that is still loading."""
KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class MemorySample:
    """Resident bytes of a place in the fleet (`worker 1`, whichever process fills it) at a time since the start."""

    place: str
    at_s: float
    age_s: float
    resident_bytes: int


def resident_bytes(pid: int) -> int | None:
    """Resident memory of a process, None if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIB
    return None


def growth(samples: Iterable[MemorySample], *, duration_s: float) -> dict[str, float]:
    """By place: median of the last quarter of the run over that of the second; without samples in both, no entry."""
    second: dict[str, list[int]] = {}
    last: dict[str, list[int]] = {}
    for sample in samples:
        if sample.age_s < WARM_UP_S:
            continue
        quarter = int(4 * sample.at_s / duration_s) if duration_s > 0 else 0
        chosen = {1: second, 3: last, 4: last}.get(quarter)
        if chosen is not None:
            chosen.setdefault(sample.place, []).append(sample.resident_bytes)
    return {place: round(median(last[place]) / median(values), 3) for place, values in second.items() if place in last}


def peaks_mb(samples: Iterable[MemorySample]) -> Mapping[str, float]:
    """By place, the most that was seen, in MiB."""
    most: dict[str, int] = {}
    for sample in samples:
        most[sample.place] = max(sample.resident_bytes, most.get(sample.place, 0))
    return {place: round(value / MIB, 1) for place, value in sorted(most.items())}
