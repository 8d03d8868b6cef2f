"""Callbacks that a command library starts as tasks and does not await: they are handlers of their dispatch, too.

hikari-arc and hikari-miru run what the user wrote in a task of its own, so the listener ends at once. Without this, the
dispatch would be acknowledged before the command ran, and a process that stops would not wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from consumers.handling import CURRENT_HANDLING, Handling, listener_name
from consumers.watchdog import HANDLER_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

CALLBACK_NAME = "_handle_callback"
"""arc: `abc/command.py` and `command/slash.py`; miru: `view.py` and `modal.py`. Their other tasks (time-outs of views,
automatic deferring, deletions later on) are not what a dispatch waits for."""


class _Factory:
    """Makes tasks as `former` does, asyncio itself without one."""

    def __init__(self, former: Callable[..., Any] | None) -> None:
        self._former = former

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, /, **options: Any) -> Any:  # noqa: ANN401 - asyncio's
        make = self._former or _plain
        task = make(loop, coro, **options)
        if isinstance(coro, CoroutineType) and coro.__name__ == CALLBACK_NAME:
            handling = CURRENT_HANDLING.get()
            if handling is not None:
                _count(task, coro, handling)
        return task


def _plain(loop: asyncio.AbstractEventLoop, coro: Any, /, **options: Any) -> asyncio.Task[Any]:  # noqa: ANN401 - asyncio's
    return asyncio.Task(coro, loop=loop, **options)


def count_library_callbacks(loop: asyncio.AbstractEventLoop) -> None:
    """From now on, such a task belongs to the handling in whose context it is started."""
    former = loop.get_task_factory()
    if not isinstance(former, _Factory):
        loop.set_task_factory(_Factory(former))


def _count(task: asyncio.Task[Any], coro: CoroutineType[Any, Any, Any], handling: Handling) -> None:
    def callback() -> None:
        """What the log calls it."""

    callback.__module__ = coro.cr_frame.f_globals["__name__"] if coro.cr_frame is not None else ""
    callback.__qualname__ = coro.__qualname__

    def note(ended: asyncio.Task[Any]) -> None:
        if ended.cancelled() or (error := ended.exception()) is None:
            return
        handling.note_raised(callback, error)
        fields = {"action": "handler_failed", "handler": listener_name(callback)}
        _log.error("a handler failed", extra=fields, exc_info=error)

    task.set_name(f"{HANDLER_PREFIX}{listener_name(callback)}")
    task.add_done_callback(note)  # before the handling is told that it ended
    handling.track(task, callback)
