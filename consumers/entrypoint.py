"""Imports the user's function, `module:function`, and calls it with the bot."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hikari

from consumers.library_pins import unmet_pins_here
from eventbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from consumers.bot import Bot

_PATTERN = re.compile(r"(?P<module>[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<attribute>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")


def load_entrypoint(text: str, directory: str | None) -> Callable[[Bot], Any]:
    """The function that `text` names, `directory` (default: the current one) being first on `sys.path`.

    Raises ConfigurationError, which says in one sentence what to change.
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ConfigurationError(f"--entrypoint {text!r} is not like module:function: write for example my_bot:setup")
    folder = _folder(directory)
    if not folder.is_dir():
        raise ConfigurationError(f"--entrypoint-dir {directory!r} is not a folder: give the one that holds the module")
    sys.path.insert(0, str(folder))
    module = _import(match["module"], folder)
    return _function(module, match["attribute"], text)


def _folder(directory: str | None) -> Path:
    return Path(directory or ".").absolute()


def _import(name: str, folder: Path) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            raise ConfigurationError(
                f"--entrypoint: there is no module {missing!r} in {folder} or on sys.path:"
                " correct the name, or give --entrypoint-dir"
            ) from error
        raise _raised("importing", name, error, folder) from error
    except (Exception, SystemExit) as error:  # the module is the user's: anything can come out of it
        raise _raised("importing", name, error, folder) from error


def _function(module: object, attribute: str, text: str) -> Callable[[Bot], Any]:
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            where = getattr(module, "__file__", None) or "it"
            raise ConfigurationError(f"--entrypoint {text!r}: {where} has no {attribute!r}: correct the name")
        found = getattr(found, part)
    if isinstance(found, hikari.GatewayBot):
        raise ConfigurationError(
            f"--entrypoint {text!r} is a bot: name a function that takes a bot and gives it its listeners"
            " (docs/from-gatewaybot.md has examples)"
        )
    if not callable(found):
        raise ConfigurationError(
            f"--entrypoint {text!r} is not callable but {type(found).__name__}: name a function that takes the bot"
        )
    function: Callable[[Bot], Any] = found
    return function


async def call_entrypoint(function: Callable[[Bot], Any], bot: Bot, text: str, directory: str | None) -> None:
    """Call `function(bot)`, and wait for it if it is async. Raises ConfigurationError if it raises."""
    try:
        result = function(bot)
        if inspect.isawaitable(result):
            await result
    except (Exception, SystemExit) as error:  # the function is the user's: anything can come out of it
        raise _raised("calling", text, error, _folder(directory)) from error


def _raised(doing: str, name: str, error: BaseException, folder: Path) -> ConfigurationError:
    message = " ".join(str(error).split()) or "no message"
    place = _place(error, folder)
    where = f" (at {place})" if place else ""
    sentence = (
        f"--entrypoint: {doing} {name} raised {type(error).__name__}: {message}{where}: correct it and start again"
    )
    return ConfigurationError([sentence, *unmet_pins_here()])


def _place(error: BaseException, folder: Path) -> str | None:
    """file:line of the deepest frame in the user's folder, else of the deepest one that is not ours."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen")
    ]
    own = [frame for frame in frames if _is_own(Path(frame.filename), folder)]
    if not frames:
        return None
    last = (own or frames)[-1]
    return f"{last.filename}:{last.lineno}"


def _is_own(file: Path, folder: Path) -> bool:
    return file.is_relative_to(folder) and "site-packages" not in file.parts
