"""Sees which Python files below a folder changed, by their times and sizes; no notification of the system is needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    Stamp = tuple[int, int]

_OF_OTHERS = frozenset({"__pycache__", "site-packages", "node_modules"})


class SourceWatch:
    """The Python files below `folder`, but for hidden folders, virtual environments and installed packages."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamps = self._look()
        self._changing: set[Path] = set()

    def changed(self) -> frozenset[Path]:
        """Files that came, went or changed, as soon as two looks in a row saw the same of them; else nothing."""
        stamps = self._look()
        moved = {path for path in stamps.keys() | self._stamps.keys() if stamps.get(path) != self._stamps.get(path)}
        self._stamps = stamps
        self._changing |= moved
        if moved or not self._changing:
            return frozenset()
        settled, self._changing = frozenset(self._changing), set()
        return settled

    def _look(self) -> dict[Path, Stamp]:
        return dict(_stamps(self._folder))


def _stamps(folder: Path) -> Iterator[tuple[Path, Stamp]]:
    for where, folders, files in os.walk(folder):
        folders[:] = [one for one in folders if _is_own(Path(where, one))]
        for path in (Path(where, name) for name in files if name.endswith(".py")):
            try:
                stat = path.stat()
            except OSError:  # it went meanwhile
                continue
            yield path, (stat.st_mtime_ns, stat.st_size)


def _is_own(folder: Path) -> bool:
    return not folder.name.startswith(".") and folder.name not in _OF_OTHERS and not (folder / "pyvenv.cfg").exists()


def syntax_problem(path: Path) -> str | None:
    """Where the Python file is no Python, in one sentence; None if it is, or is gone."""
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except OSError:
        return None
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        return f"{path}:{line or '?'}: {getattr(error, 'msg', None) or error}"
    return None
