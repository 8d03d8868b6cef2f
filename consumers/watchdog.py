"""Sees from a thread of its own that the event loop stands still, and says which handler keeps it."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventbus.errors import EXIT_FAILURE

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from consumers.counters import Counters

_log = logging.getLogger(__name__)

BEAT_S = 0.25
PATIENCE_S = 1.0
SAY_S = 1.0
STOPPED_SHARE = 0.1
"""A process that used less CPU than that while not even the watching thread ran was stopped as a whole."""
HANDLER_PREFIX = "handler "
_DEBUGGERS = frozenset({"bdb", "pdb", "pydevd", "_pydevd_bundle", "debugpy"})
_LIBRARY = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
_OWN = str(Path(__file__).parent)


class Watchdog:
    """The loop beats, the thread looks whether it did. `run()` as a task of the loop to be watched.

    A loop that stood still for `end_after_s` ends the process: no signal and no time-out reaches it, and RabbitMQ has
    given its deliveries to others long before. Only while `may_end()`, and not while it stands in a debugger.
    """

    def __init__(
        self,
        counters: Counters,
        *,
        end_after_s: float | None,
        may_end: Callable[[], bool],
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._counters = counters
        self._end_after_s = end_after_s
        self._may_end = may_end
        self._patience_s = patience_s
        self._beat_at = time.monotonic()
        self._stopping = threading.Event()
        self._culprit: dict[str, str] | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        looks_at = (asyncio.get_running_loop(), threading.get_ident())
        threading.Thread(target=self._watch, args=looks_at, name="watchdog", daemon=True).start()
        self._beat_at = time.monotonic()
        try:
            while True:
                await asyncio.sleep(BEAT_S)
                self._beat()
        finally:
            self._stopping.set()

    def _beat(self) -> None:
        now = time.monotonic()
        still_s, self._beat_at = now - self._beat_at, now
        culprit, self._culprit = self._culprit, None
        if culprit is not None or still_s > self._patience_s + BEAT_S:
            self._counters.loop_stalls += 1
            fields = {"action": "loop_runs_again", "seconds": round(still_s, 1), **(culprit or {"handler": "unknown"})}
            _log.error("the event loop stood still: use await, or asyncio.to_thread for what blocks", extra=fields)

    def _watch(self, loop: asyncio.AbstractEventLoop, thread_id: int) -> None:
        looked_at, cpu_at = time.monotonic(), time.process_time()
        beat_at, blocked_s = self._beat_at, 0.0
        while not self._stopping.wait(BEAT_S):
            now, cpu = time.monotonic(), time.process_time()
            gap_s, used_s = now - looked_at, cpu - cpu_at
            looked_at, cpu_at = now, cpu
            if self._beat_at != beat_at:
                beat_at, blocked_s = self._beat_at, 0.0
            was_stopped = gap_s > self._patience_s + BEAT_S and used_s < gap_s * STOPPED_SHARE
            blocked_s += BEAT_S if was_stopped else gap_s  # what stops the whole process is no handler's doing
            still_s = now - beat_at
            if still_s > self._patience_s + BEAT_S and self._culprit is None:
                self._culprit = _culprit(loop, thread_id)
                fields = {"action": "loop_blocked", "seconds": round(still_s, 1), **self._culprit}
                _say(logging.ERROR, "a handler blocks the event loop: nothing else runs", fields)
            culprit = self._culprit
            if (
                culprit is None
                or self._end_after_s is None
                or blocked_s <= self._end_after_s
                or not self._may_end()
                or _is_debugged(thread_id)
            ):
                continue
            fields = {"action": "block_timeout", "seconds": round(still_s, 1), **culprit}
            _say(logging.CRITICAL, "a handler blocks the event loop without end: the process ends", fields)
            os._exit(EXIT_FAILURE)


def _say(level: int, sentence: str, fields: dict[str, Any]) -> None:
    """Within a bound: the loop may be what blocks in writing to the log, and holds its lock."""
    saying = threading.Thread(target=_log.log, args=(level, sentence), kwargs={"extra": fields}, daemon=True)
    saying.start()
    saying.join(SAY_S)


def _is_debugged(thread_id: int) -> bool:
    """Whether the thread stands in a debugger."""
    frame = sys._current_frames().get(thread_id)  # noqa: SLF001 - documented
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in _DEBUGGERS:
            return True
        frame = frame.f_back
    return False


def _culprit(loop: asyncio.AbstractEventLoop, thread_id: int) -> dict[str, str]:
    task = asyncio.current_task(loop)
    name = task.get_name().removeprefix(HANDLER_PREFIX) if task is not None else "a callback of the event loop"
    return {"handler": name, "at": _place(sys._current_frames().get(thread_id))}  # noqa: SLF001 - documented


def _place(frame: FrameType | None) -> str:
    """file:line of the innermost frame that is the user's, else of the innermost."""
    innermost = frame
    while frame is not None:
        if not frame.f_code.co_filename.startswith((*_LIBRARY, _OWN, "<frozen")):
            break
        frame = frame.f_back
    found = frame or innermost
    return f"{found.f_code.co_filename}:{found.f_lineno}" if found is not None else "unknown"
