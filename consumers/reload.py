"""`gw-consume --reload`: the handlers' processes are drained and started anew when their Python files change."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from consumers.source_watch import SourceWatch, syntax_problem

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

LOOK_S = 0.4


async def reload_on_change(directory: str | None, reload: Callable[[], None]) -> None:
    """Call `reload()` whenever Python files below `directory` changed and are Python; for ever."""
    folder = Path(directory or ".").absolute()  # noqa: ASYNC240 - reads the name of the current folder once
    watch = await asyncio.to_thread(SourceWatch, folder)
    _log.info("watching Python files", extra={"action": "watching", "folder": str(folder)})
    while True:
        await asyncio.sleep(LOOK_S)
        changed = sorted(await asyncio.to_thread(watch.changed))
        problems = [problem for problem in map(syntax_problem, changed) if problem is not None]
        for problem in problems:
            sentence = "a changed file is no Python: what runs goes on until it is corrected"
            _log.error(sentence, extra={"action": "reload_refused", "problem": problem})
        if changed and not problems:
            names = [str(path.relative_to(folder)) for path in changed]
            _log.info("files changed: starting anew", extra={"action": "reload", "files": names})
            reload()
