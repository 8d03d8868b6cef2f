"""The import path of a function, for a process that is not there yet."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from eventbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

_MAIN = "__main__"


def import_path(function: Callable[..., Any] | str) -> tuple[str, Path]:
    """`module:function`, and the folder to import it from. A text is taken as it is, beside the running script.

    Raises ConfigurationError if another process cannot import the function.
    """
    if isinstance(function, str):
        return function, Path(sys.path[0] or ".").absolute()
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    loaded = sys.modules.get(module or "")
    if loaded is None or name is None or _find(loaded, name) is not function:
        raise ConfigurationError(
            f"{function!r} cannot be imported by another process: define a function at the top level of a module,"
            " and give it or its path, such as 'my_bot:setup'"
        )
    module_name, folder = _script(loaded) if module == _MAIN else (str(module), _folder(loaded))
    return f"{module_name}:{name}", folder


def _find(module: ModuleType, name: str) -> object:
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _script(main: ModuleType) -> tuple[str, Path]:
    """The module that the running script is when it is imported."""
    spec, file = main.__spec__, getattr(main, "__file__", None)
    if spec is not None:  # python -m
        return spec.name, Path.cwd()
    if file is None or not Path(file).stem.isidentifier():
        raise ConfigurationError(
            f"the running script ({file or 'no file'}) cannot be imported by another process:"
            " give it a name such as my_bot.py, or move the function to a module of its own"
        )
    return Path(file).stem, Path(file).absolute().parent


def _folder(module: ModuleType) -> Path:
    file = Path(module.__file__ or ".").absolute()
    levels = module.__name__.count(".") + (file.name == "__init__.py")
    return file.parents[levels]
