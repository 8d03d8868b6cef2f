"""Which changes of Python files are seen, and when they are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumers.source_watch import SourceWatch, syntax_problem

if TYPE_CHECKING:
    from pathlib import Path


def test_a_change_is_told_once_and_only_when_it_has_settled(tmp_path: Path) -> None:
    bot, part = tmp_path / "bot.py", tmp_path / "parts" / "part.py"
    bot.write_text("a = 1")
    watch = SourceWatch(tmp_path)
    assert watch.changed() == set()
    bot.write_text("a = 22")
    assert watch.changed() == set()
    part.parent.mkdir()
    part.write_text("b = 1")
    assert watch.changed() == set()
    assert watch.changed() == {bot, part}
    assert watch.changed() == set()
    bot.unlink()
    assert watch.changed() == set()
    assert watch.changed() == {bot}


def test_what_is_no_source_of_the_bot_is_not_watched(tmp_path: Path) -> None:
    watch = SourceWatch(tmp_path)
    (tmp_path / "venv" / "lib").mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    for place in (".hidden", "__pycache__", "venv/lib"):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "x.py").touch()
    (tmp_path / "notes.txt").touch()
    assert watch.changed() == set()
    assert watch.changed() == set()


def test_a_syntax_error_has_its_place(tmp_path: Path) -> None:
    bot = tmp_path / "bot.py"
    bot.write_text("a = 1\nb = (\n")
    assert syntax_problem(bot) == f"{bot}:2: '(' was never closed"
    bot.write_bytes(b"\0")
    assert str(syntax_problem(bot)).startswith(f"{bot}:")
    bot.write_text("a = 1")
    assert syntax_problem(bot) is None
    assert syntax_problem(tmp_path / "gone.py") is None
