"""Which functions another process can import, and from where."""

from __future__ import annotations

import functools
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from consumers.import_path import import_path
from eventbus.errors import ConfigurationError
from tests.wire import consume_bots

ROOT = Path(__file__).resolve().parents[2]


class Setup:
    @staticmethod
    def function(_: object) -> None: ...

    def method(self, _: object) -> None: ...


def test_a_function_of_a_module_is_imported_from_the_folder_above_its_package() -> None:
    assert import_path(consume_bots.setup) == ("tests.wire.consume_bots:setup", ROOT)
    assert import_path(functools.partial) == ("functools:partial", Path(functools.__file__).parent)


def test_a_text_is_taken_beside_the_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert import_path("my_bot:setup") == ("my_bot:setup", tmp_path)


@pytest.mark.parametrize(
    "function",
    [lambda _: None, functools.partial(consume_bots.setup), Setup().method, Setup(), len.__call__],
    ids=["lambda", "partial", "method", "object", "slot"],
)
def test_what_cannot_be_imported_is_refused_with_a_sentence(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="define a function at the top level of a module"):
        import_path(function)


def test_a_nested_function_is_refused() -> None:
    def setup(_: object) -> None: ...

    with pytest.raises(ConfigurationError, match="cannot be imported by another process"):
        import_path(setup)


@pytest.mark.parametrize(("name", "ok"), [("my_bot.py", True), ("my-bot.py", False)])
def test_the_running_script_is_imported_by_its_name_if_it_has_one(tmp_path: Path, name: str, ok: bool) -> None:
    script = tmp_path / name
    script.write_text(
        "import sys\nfrom consumers.import_path import import_path\n"
        "def setup(bot): ...\nif __name__ == '__main__':\n    found = import_path(setup)\n"
    )
    if not ok:
        with pytest.raises(ConfigurationError, match="give it a name such as my_bot"):
            runpy.run_path(str(script), run_name="__main__")
        return
    assert runpy.run_path(str(script), run_name="__main__")["found"] == ("my_bot:setup", tmp_path)
