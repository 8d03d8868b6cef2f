"""Everything that one delivery set going: its handlers, those that they set going in turn, and what failed."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any


class Handling:
    """The handlers of one delivery. `failure` is why hikari could not read its payload, if it could not."""

    __slots__ = ("_tasks", "failure")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self.failure: Exception | None = None

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
