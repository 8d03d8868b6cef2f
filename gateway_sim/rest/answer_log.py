"""Every try to answer an interaction, in order, for whoever counts and times them over a whole run."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway_sim.rest.journal import InteractionAnswer

_MOST_ROWS = 1_000_000


class AnswerLog:
    """Rows count from 1; beyond `limit`, the oldest are forgotten."""

    def __init__(self, limit: int = _MOST_ROWS) -> None:
        self._rows: deque[InteractionAnswer] = deque(maxlen=limit)
        self._count = 0

    def add(self, answer: InteractionAnswer) -> None:
        """A try was judged."""
        self._rows.append(answer)
        self._count += 1

    def lines(self, *, after: int = 0, chunk_rows: int = 2000) -> Iterator[bytes]:
        """Yield JSON lines of the rows with n > `after`, many lines per chunk."""
        forgotten, end = self._count - len(self._rows), self._count
        first = max(after, forgotten)
        while first < end:
            last = min(first + chunk_rows, end)
            start = first - (self._count - len(self._rows))  # more may be forgotten by now
            rows = islice(self._rows, max(start, 0), max(start, 0) + last - first)
            yield b"".join(orjson.dumps({"n": n, **asdict(row)}) + b"\n" for n, row in enumerate(rows, first + 1))
            first = last
