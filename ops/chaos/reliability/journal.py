"""The files of a run: the log of all processes, and JSON lines that outlive a run that is cut off."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


class Journal:
    """`NAME.log` is written anew by each run, `NAME.jsonl` is appended to."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log_path = directory / f"{name}.log"
        self._rows_path = directory / f"{name}.jsonl"
        self._log = self.log_path.open("w", encoding="utf-8", buffering=1)

    def note(self, text: str) -> None:
        """A line of the log."""
        now = time.time()
        stamp = time.strftime("%H:%M:%S", time.localtime(now))
        self._log.write(f"{stamp}.{int(now % 1 * 1000):03d} {text}\n")

    def row(self, kind: str, figures: dict[str, Any]) -> None:
        """A line of JSON, with the time and its kind: `start`, `round` or `report`."""
        with self._rows_path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"at": round(time.time(), 3), "row": kind, **figures}) + "\n")

    def close(self) -> None:
        """Close the log."""
        self._log.close()
