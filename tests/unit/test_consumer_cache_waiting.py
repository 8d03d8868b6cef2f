"""Who waits for the copy of the cache."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from consumers.cache_waiting import CacheWaiting
from consumers.dispatch import Dispatch

DISPATCH = Dispatch(0, 1, "s", 1, "GUILD_UPDATE", "s:1", 1, False, False, 0.0)
AT_ONCE_S = 2.0
"""Less than what a dispatch waits for a copy that does not come."""


async def test_two_that_wait_for_the_same_dispatch_do_not_depend_on_each_other() -> None:
    """The group's delivery, and a copy of the process's own."""
    waiting = CacheWaiting()
    first, second = (asyncio.create_task(waiting.reach(DISPATCH)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    waiting.applied(DISPATCH, None)
    async with asyncio.timeout(AT_ONCE_S):
        assert await second is None


async def test_who_waits_for_what_never_comes_goes_on_with_what_is_behind_it() -> None:
    """The copy has it from a generation, or could not read it."""
    waiting = CacheWaiting()
    waiter = asyncio.create_task(waiting.reach(DISPATCH))
    await asyncio.sleep(0)
    waiting.applied(replace(DISPATCH, session_id="another", seq=9, message_id="another:9"), None)
    await asyncio.sleep(0)
    assert not waiter.done()
    waiting.applied(replace(DISPATCH, seq=2, message_id="s:2"), None)
    async with asyncio.timeout(AT_ONCE_S):
        assert await waiter is None
