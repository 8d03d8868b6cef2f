"""Everything that one delivery set going: its handlers, those that they set going in turn, and what failed."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Handling:
    """The handlers of one delivery.

    `failure` is why hikari could not read its payload, if it could not; `listener_failure` says which listener raised
    first, and what.
    """

    __slots__ = ("_tasks", "failure", "listener_failure")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failure: Exception | None = None
        self.listener_failure: str | None = None

    def note_raised(self, listener: Callable[..., Any], error: Exception) -> None:
        """A listener raised; the first one is the reason that is told."""
        if self.listener_failure is None:
            name = getattr(listener, "__qualname__", None) or repr(listener)
            where = f"{getattr(listener, '__module__', None) or '?'}.{name}"
            self.listener_failure = f"the listener {where} raised {type(error).__name__}: {error}"

    def track(self, task: asyncio.Task[Any]) -> None:
        """Count `task` among the handlers."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait until every handler ended, those that were started meanwhile included."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def cancel(self) -> None:
        """Cancel what still runs."""
        for task in tuple(self._tasks):
            task.cancel()


CURRENT_HANDLING: ContextVar[Handling | None] = ContextVar("consumers.current_handling", default=None)
INSIDE_HANDLER: ContextVar[bool] = ContextVar("consumers.inside_handler", default=False)
