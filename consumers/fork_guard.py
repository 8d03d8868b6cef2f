"""A handler that forks: its copy of the process must not go on with the event loop, whose connections both would use.

Processes that `multiprocessing` and `subprocess` start never come back to the loop: nothing changes for them.
"""

from __future__ import annotations

import functools
import os
import sys
import weakref
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

EXIT_FORKED = 70
SENTENCE = "a handler forked: its copy of the process ends here; use multiprocessing or asyncio's subprocesses\n"
_guarded: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


@functools.cache
def _register() -> None:
    os.register_at_fork(after_in_child=_after_fork)


def guard_forks(loop: asyncio.AbstractEventLoop) -> None:
    """From now on a fork that comes back to `loop` ends, with exit code EXIT_FORKED."""
    _guarded.add(loop)
    _register()


def _after_fork() -> None:
    for loop in _guarded:
        if loop.is_running():
            loop.call_soon(_leave)
            ready = getattr(loop, "_ready", None)
            if isinstance(ready, deque):  # asyncio's own: what else is ready in this turn is the original's to do
                ready.rotate(1)


def _leave() -> None:
    sys.stderr.write(SENTENCE)
    sys.stderr.flush()
    os._exit(EXIT_FORKED)
