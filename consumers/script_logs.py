"""Logs of a bot in a script of one's own: `logs` means what it means to hikari's GatewayBot."""

from __future__ import annotations

import logging.config
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from eventbus.errors import ConfigurationError
from eventbus.process import configure_logs

if TYPE_CHECKING:
    from eventbus.settings import Settings

LogChoice: TypeAlias = "str | int | dict[str, Any] | os.PathLike[str] | None"


def set_up_logs(choice: LogChoice, settings: Settings) -> None:
    """A level (our format, secrets hidden), a dictConfig, a fileConfig's path, or None for nothing.

    Handlers that are there already stay as they are. Raises ConfigurationError.
    """
    if choice is None or logging.root.handlers:
        return
    try:
        if isinstance(choice, dict):
            logging.config.dictConfig(choice)
            if choice.get("incremental"):
                configure_logs(settings)
        elif isinstance(choice, os.PathLike) or (isinstance(choice, str) and Path(choice).expanduser().exists()):
            logging.config.fileConfig(Path(choice).expanduser())
        else:
            configure_logs(settings, level=choice)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError, OSError) as error:
        raise ConfigurationError(
            f"logs={choice!r} cannot be used ({error}): give a level such as 'INFO', a dictConfig, a file or None"
        ) from error
