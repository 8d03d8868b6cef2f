"""Tasks end although they lose a cancellation, as `wait_for` of Python 3.11 does."""

from __future__ import annotations

import asyncio

from eventbus.process import end_tasks


async def loses(count: int) -> None:
    """Go on after so many cancellations."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            count -= 1
            if count < 0:
                raise


async def test_tasks_that_lose_a_cancellation_end_all_the_same() -> None:
    tasks = [asyncio.create_task(loses(count)) for count in (0, 1, 2)]
    await asyncio.sleep(0)
    await end_tasks(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_tasks_that_have_ended_are_left_alone() -> None:
    ended = asyncio.create_task(asyncio.sleep(0, "result"))
    await ended
    await end_tasks([ended])
    assert ended.result() == "result"
    await end_tasks([])
