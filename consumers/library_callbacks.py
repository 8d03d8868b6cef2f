"""Callbacks that a command library starts as tasks and does not await: they are handlers of their dispatch, too.

hikari-arc and hikari-miru run what the user wrote in a task of its own, so the listener ends at once. Without this, the
dispatch would be acknowledged before the command ran, and a process that stops would not wait for it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from consumers.errors import CancelledByNobodyError
from consumers.handling import Handling, current_handling, listener_name
from consumers.watchdog import HANDLER_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

CALLBACK_NAME = "_handle_callback"
LIBRARIES = frozenset({"arc", "miru"})
"""arc: `abc/command.py` and `command/slash.py`; miru: `view.py` and `modal.py`. Their other tasks (time-outs of views,
automatic deferring, deletions later on) are not what a dispatch waits for."""


def count_library_callbacks(loop: asyncio.AbstractEventLoop) -> None:
    """From now on, such a task belongs to the handling in whose context it is started.

    Call it again now and then: whoever sets a task factory of his own takes this one away.
    """
    former = loop.get_task_factory()
    if not isinstance(former, _Factory):
        loop.set_task_factory(_Factory(former))


class _Factory:
    """Makes tasks as `former` does, asyncio itself without one."""

    def __init__(self, former: Callable[..., Any] | None) -> None:
        self._make = former or _plain

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, /, **options: Any) -> Any:  # noqa: ANN401 - asyncio's
        handling = current_handling() if _is_callback(coro) else None
        if handling is None:
            return self._make(loop, coro, **options)

        def callback() -> None:
            """What the log calls it."""

        callback.__module__, callback.__qualname__ = coro.cr_frame.f_globals["__name__"], coro.__qualname__
        task = self._make(loop, _run(coro, handling, callback), **options)
        task.set_name(f"{HANDLER_PREFIX}{listener_name(callback)}")
        task.add_done_callback(lambda _: coro.close())  # if it was cancelled before its first step
        handling.track(task, callback)
        return task


def _plain(loop: asyncio.AbstractEventLoop, coro: Any, /, **options: Any) -> asyncio.Task[Any]:  # noqa: ANN401 - asyncio's
    return _TASK(coro, loop=loop, **options)


class _Task(asyncio.Task[Any]):
    """asyncio's own, but that the first releases of Python 3.13 name a factory's tasks anew, and if only `None`."""

    def set_name(self, value: object) -> None:
        if value is not None:
            super().set_name(value)


_TASK = _Task if sys.version_info >= (3, 13) else asyncio.Task


def _is_callback(coro: object) -> bool:
    if not isinstance(coro, CoroutineType) or coro.__name__ != CALLBACK_NAME or coro.cr_frame is None:
        return False
    return str(coro.cr_frame.f_globals.get("__name__")).partition(".")[0] in LIBRARIES


async def _run(coro: CoroutineType[Any, Any, None], handling: Handling, callback: Callable[[], None]) -> None:
    """What it raises is reported here, as nobody awaits it, and counts as a listener's failure."""
    try:
        await coro
    except SystemExit as request:
        handling.note_exit(callback, request)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        _report(CancelledByNobodyError("what it awaited was cancelled"), handling, callback)
    except Exception as error:  # noqa: BLE001 - the border of one delivery: handlers are the user's
        _report(error, handling, callback)


def _report(error: Exception, handling: Handling, callback: Callable[[], None]) -> None:
    handling.note_raised(callback, error)
    fields = {"action": "handler_failed", "handler": listener_name(callback)}
    _log.error("a handler failed", extra=fields, exc_info=error)
