"""Importing the user's function: what is wrong is said in one sentence that says where."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import pytest

from consumers.bot import Bot
from consumers.entrypoint import call_entrypoint, load_entrypoint
from eventbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _same_imports() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def problem(text: str, directory: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_entrypoint(text, str(directory))
    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]
    return caught.value.problems[0]


def write(directory: Path, source: str, name: str = "users_bot") -> None:
    (directory / f"{name}.py").write_text(source)


def test_a_function_is_found_in_the_given_folder(tmp_path: Path) -> None:
    write(tmp_path, "def setup(bot):\n    bot.append(1)\n")
    function = load_entrypoint("users_bot:setup", str(tmp_path))
    calls: list[int] = []
    function(cast("Bot", calls))
    assert calls == [1]
    assert sys.path[0] == str(tmp_path)


def test_the_current_folder_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "class Bots:\n    def setup(bot): ...\n")
    monkeypatch.chdir(tmp_path)
    assert callable(load_entrypoint("users_bot:Bots.setup", None))


@pytest.mark.parametrize(
    "text", ["", "users_bot", "users_bot:", ":setup", "a b:c", "a:b:c", "a/b.py:c", "a..b:c", "1:2"]
)
def test_a_malformed_text_says_how_to_write_it(text: str, tmp_path: Path) -> None:
    assert "module:function" in problem(text, tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert "--entrypoint-dir" in problem("users_bot:setup", tmp_path / "nowhere")


def test_a_missing_module_is_named_with_the_folder(tmp_path: Path) -> None:
    sentence = problem("users_bot:setup", tmp_path)
    assert "no module 'users_bot'" in sentence
    assert str(tmp_path) in sentence


def test_a_missing_module_inside_a_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "package_of_bots").mkdir()
    assert "no module 'package_of_bots.inner'" in problem("package_of_bots.inner:setup", tmp_path)


def test_a_module_that_the_users_module_misses_is_another_thing(tmp_path: Path) -> None:
    write(tmp_path, "import a_library_that_is_not_there\n")
    sentence = problem("users_bot:setup", tmp_path)
    assert "ModuleNotFoundError" in sentence
    assert f"{tmp_path}/users_bot.py:1" in sentence


def test_a_missing_attribute_is_named(tmp_path: Path) -> None:
    write(tmp_path, "")
    assert "has no 'setup'" in problem("users_bot:setup", tmp_path)


def test_what_is_not_callable_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "setup = 3\n")
    assert "not callable but int" in problem("users_bot:setup", tmp_path)


@pytest.mark.parametrize(
    ("source", "kind", "line"),
    [
        ("x = 1\nraise ValueError('the\\nsecret sauce')\n", "ValueError: the secret sauce", 2),
        ("\n\ndef broken(:\n", "SyntaxError", 3),
        ("import sys\nsys.exit(7)\n", "SystemExit: 7", 2),
        ("def f():\n    1 / 0\nf()\n", "ZeroDivisionError", 2),
    ],
)
def test_what_an_import_raises_is_shown_with_its_place(source: str, kind: str, line: int, tmp_path: Path) -> None:
    write(tmp_path, source)
    sentence = problem("users_bot:setup", tmp_path)
    assert kind in sentence
    assert f"{tmp_path}/users_bot.py:{line}" in sentence


async def test_what_the_function_raises_is_shown_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, "async def setup(bot):\n    raise KeyError('x')\n")
    function = load_entrypoint("users_bot:setup", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"calling users_bot:setup raised KeyError.*users_bot\.py:2"):
        await call_entrypoint(function, cast("Bot", None), "users_bot:setup", str(tmp_path))


async def test_a_function_that_takes_no_bot_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "def setup(): ...\n")
    function = load_entrypoint("users_bot:setup", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"setup\(\) takes 0 positional arguments"):
        await call_entrypoint(function, cast("Bot", None), "users_bot:setup", str(tmp_path))


async def test_an_async_function_is_waited_for(tmp_path: Path) -> None:
    write(tmp_path, "import asyncio\nasync def setup(bot):\n    await asyncio.sleep(0)\n    bot.append(2)\n")
    function = load_entrypoint("users_bot:setup", str(tmp_path))
    calls: list[int] = []
    await call_entrypoint(function, cast("Bot", calls), "users_bot:setup", str(tmp_path))
    assert calls == [2]
