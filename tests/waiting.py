"""Waiting for a condition on the far side of the broker, which sends no event when it comes true."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WAIT_S = 80
POLL_S = 0.02


async def eventually(condition: Callable[[], object | Awaitable[object]]) -> None:
    """Return as soon as `condition` gives something true; TimeoutError after WAIT_S."""
    async with asyncio.timeout(WAIT_S):
        while True:
            value = condition()
            if await value if inspect.isawaitable(value) else value:
                return
            await asyncio.sleep(POLL_S)
