"""Prints the lines of many processes, each with its name before it, in colour on a terminal."""

from __future__ import annotations

import os
from typing import TextIO

_COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)
_NAME_WIDTH = 13


class LinePrinter:
    """One for a terminal or a pipe; NO_COLOR is obeyed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._colours: dict[str, int] = {}
        self._is_coloured = stream.isatty() and not os.environ.get("NO_COLOR")

    def line(self, name: str, text: str) -> None:
        """Print one line of process `name`."""
        prefix = f"{name:<{_NAME_WIDTH}} |"
        if self._is_coloured:
            colour = self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        self._stream.write(f"{prefix} {text}\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """Print a line of our own."""
        self.line("gw-run", text)
