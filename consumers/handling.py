"""Everything that one delivery set going: its handlers, those that they set going in turn, and what failed."""

from __future__ import annotations

import asyncio
import logging
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from consumers.errors import HandlerTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

CANCEL_PATIENCE_S = 5.0
"""What a handler that took too long gets to end once it is cancelled; then it is left to itself."""
_left_to_themselves: set[asyncio.Task[Any]] = set()


def listener_name(listener: Callable[..., Any]) -> str:
    """`module.function`, as far as it has such names."""
    name = getattr(listener, "__qualname__", None) or repr(listener)
    return f"{getattr(listener, '__module__', None) or '?'}.{name}"


def described(error: BaseException) -> str:
    """`Type: message`, which can be written wherever text can."""
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001 - the user's class
        text = f"no message ({type(failure).__name__} in its __str__)"
    return f"{type(error).__name__}: {text}".encode(errors="replace").decode()


def log_exit(listener: Callable[..., Any], request: SystemExit) -> None:
    """Say who ends the process."""
    _log.warning(
        "a handler ends the process: others end first",
        extra={"action": "handler_exit", "handler": listener_name(listener), "code": str(request.code)},
    )


@dataclass(slots=True)
class _Running:
    listener: Callable[..., Any]
    began_at: float
    cancelled_at: float | None = None


class Handling:
    """The handlers of one delivery.

    `failure` is why hikari could not read its payload, if it could not; `listener_failure` says which listener raised
    first, and what. `timed_out_count`: handlers that took too long. `is_over`: its delivery is settled; what is started
    in its context from then on, by a task that a handler left behind, belongs to no delivery. `on_exit` is called
    with what `sys.exit` raised in a listener.
    """

    __slots__ = ("_look", "_on_exit", "_running", "failure", "is_over", "listener_failure", "timed_out_count")

    def __init__(self, on_exit: Callable[[SystemExit], None]) -> None:
        self._on_exit = on_exit
        self._running: dict[asyncio.Task[Any], _Running] = {}
        self._look: asyncio.Future[None] | None = None
        self.failure: Exception | None = None
        self.listener_failure: str | None = None
        self.is_over = False
        self.timed_out_count = 0

    def note_raised(self, listener: Callable[..., Any], error: BaseException) -> None:
        """A listener raised; the first one is the reason that is told."""
        if self.listener_failure is None:
            self.listener_failure = f"the listener {listener_name(listener)} raised {described(error)}"

    def note_exit(self, listener: Callable[..., Any], request: SystemExit) -> None:
        """A listener called `sys.exit`: with a code other than 0, it failed too."""
        log_exit(listener, request)
        if request.code not in (None, 0):
            self.note_raised(listener, request)
        self._on_exit(request)

    def track(self, task: asyncio.Task[Any], listener: Callable[..., Any]) -> None:
        """Count `task`, which runs `listener`, among the handlers."""
        self._running[task] = _Running(listener, asyncio.get_running_loop().time())
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.pop(task, None)
        if not self._running:
            self._look_now()

    def _look_now(self) -> None:
        if self._look is not None and not self._look.done():
            self._look.set_result(None)

    def timeout_of(self, task: asyncio.Task[Any] | None) -> HandlerTimeoutError | None:
        """Why the handler in `task` was cancelled, if it took too long."""
        running = self._running.get(task) if task is not None else None
        if running is None or running.cancelled_at is None:
            return None
        return HandlerTimeoutError(listener_name(running.listener), running.cancelled_at - running.began_at)

    async def finish(self, timeout_s: float | None = None) -> None:
        """Wait until every handler ended, those that were started meanwhile included; each gets `timeout_s`."""
        loop = asyncio.get_running_loop()
        while self._running:  # `asyncio.wait` would be an eighth of what a dispatch costs
            self._look = loop.create_future()
            timer = None if timeout_s is None else loop.call_at(self._next_due_at(timeout_s), self._look_now)
            try:
                await self._look
            finally:
                if timer is not None:
                    timer.cancel()
            if timeout_s is not None and self._running:
                self._end_overdue(timeout_s)
        self.is_over = True

    def _next_due_at(self, timeout_s: float) -> float:
        return min(_due_at(one, timeout_s) for one in self._running.values())

    def _end_overdue(self, timeout_s: float) -> None:
        now = asyncio.get_running_loop().time()
        for task, running in tuple(self._running.items()):
            if task.done() or _due_at(running, timeout_s) > now:
                continue
            name, ran_s = listener_name(running.listener), now - running.began_at
            fields = {"handler": name, "seconds": round(ran_s, 1)}
            if running.cancelled_at is None:
                running.cancelled_at = now
                self.timed_out_count += 1
                self.note_raised(running.listener, HandlerTimeoutError(name, ran_s))
                _log.error("a handler took too long: cancelled", extra={"action": "handler_timeout", **fields})
                task.cancel()
            else:
                _log.error("a handler does not end: left to itself", extra={"action": "handler_left", **fields})
                del self._running[task]
                _left_to_themselves.add(task)
                task.add_done_callback(_left_to_themselves.discard)

    def cancel(self) -> None:
        """Cancel what still runs."""
        for task in tuple(self._running):
            task.cancel()


def _due_at(running: _Running, timeout_s: float) -> float:
    if running.cancelled_at is None:
        return running.began_at + timeout_s
    return running.cancelled_at + CANCEL_PATIENCE_S


def current_handling() -> Handling | None:
    """That of the delivery in whose context the caller runs, as long as it is not over."""
    handling = CURRENT_HANDLING.get()
    return None if handling is None or handling.is_over else handling


CURRENT_HANDLING: ContextVar[Handling | None] = ContextVar("consumers.current_handling", default=None)
INSIDE_HANDLER: ContextVar[bool] = ContextVar("consumers.inside_handler", default=False)
