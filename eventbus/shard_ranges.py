"""Shard ranges as operators write them: `0-15`, `0,3,7-9`, `auto`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

AUTO = "auto"
MAX_SHARD_COUNT = 100_000

_PART = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?", re.ASCII)


def parse_shard_range(text: str) -> frozenset[int] | None:
    """The shard ids that `text` names, or None for `auto` (any shards, up to a capacity).

    Raises ValueError with a sentence that says what to change.
    """
    if text.strip().lower() == AUTO:
        return None
    shards: set[int] = set()
    for part in text.split(","):
        shards.update(_parse_part(part.strip(), text))
    return frozenset(shards)


def _parse_part(part: str, text: str) -> range:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"{text!r} is not a shard range: write it like 0-15, 0,3,7-9 or auto")
    first = int(match[1])
    last = int(match[2]) if match[2] is not None else first
    if last < first:
        raise ValueError(f"the shard range {part!r} runs backwards: write {last}-{first}")
    if last >= MAX_SHARD_COUNT:
        raise ValueError(f"shard id {last} is too large: shard ids end below {MAX_SHARD_COUNT}")
    return range(first, last + 1)


def format_shards(shards: Iterable[int]) -> str:
    """The shortest range text for `shards`, ascending: `0-3,7`; `none` for no shard at all."""
    runs: list[list[int]] = []
    for shard in sorted(set(shards)):
        if runs and shard == runs[-1][1] + 1:
            runs[-1][1] = shard
        else:
            runs.append([shard, shard])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs) or "none"
