"""Runs the deliveries of one queue in tasks of their own: started in order, a bounded number at once."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from typing import TYPE_CHECKING

from consumers.watchdog import HANDLER_PREFIX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from consumers.limits import TypeLimits
    from eventbus.amqp.deliveries import Delivery

_log = logging.getLogger(__name__)

FULL_S = 5.0
"""A full lane in which nothing ended for so long is told of, once."""
TOLD_COUNT = 3


class Lane:
    """One queue's deliveries. `take()` from the AMQP callback, `run()` as a task, `drain()` at the end.

    Not inside the AMQP library's callback, because that is cancelled when the connection dies. After a reconnect,
    handlers of the old connection may still run: `slot_count` bounds them all together, and what has not started is
    left out, since it comes again. `limits`, which the process's lanes share, bounds them by event type: what waits for
    its type lets other types pass. A lane that is not `urgent` starts one delivery in each turn of the event loop, so
    that what comes for the other lanes meanwhile waits for one delivery, not for all.
    """

    def __init__(
        self,
        name: str,
        *,
        slot_count: int,
        limits: TypeLimits,
        handle: Callable[[Delivery], Awaitable[None]],
        urgent: bool = False,
    ) -> None:
        self._name = name
        self._handle = handle
        self._limits = limits
        self._urgent = urgent
        self._slots = asyncio.Semaphore(slot_count)
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue()  # bounded by the prefetch
        self._running: set[asyncio.Task[None]] = set()
        self._slot_count = slot_count
        self._open_count = 0
        self._last_end_at = 0.0
        self._is_watched = False
        self._has_ended = asyncio.Event()
        self._has_ended.set()
        self._is_closed = False

    def take(self, delivery: Delivery) -> None:
        """Line up a delivery."""
        if self._is_closed:
            delivery.end()
        else:
            self._open_count += 1
            self._has_ended.clear()
            self._limits.enter(delivery.event_type, functools.partial(self._waiting.put_nowait, delivery))
            if not self._is_watched and self._open_count >= self._slot_count > 1:
                self._is_watched = True
                self._last_end_at = asyncio.get_running_loop().time()
                self._look_again_in(FULL_S)

    async def run(self) -> None:
        """Start deliveries for ever."""
        while True:
            delivery = await self._waiting.get()
            await self._slots.acquire()
            if delivery.is_gone or self._is_closed:
                self._release(delivery)
                continue
            task = asyncio.create_task(self._guarded(delivery), name=f"delivery of {self._name}")
            self._running.add(task)
            task.add_done_callback(functools.partial(self._ended, delivery))
            if not self._urgent:
                await asyncio.sleep(0)

    def _look_again_in(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._look_whether_full)

    def _look_whether_full(self) -> None:
        """RabbitMQ sends nothing more to a lane that is full: what its handlers wait for may be behind it."""
        if self._open_count < self._slot_count:
            self._is_watched = False
            return
        idle_s = asyncio.get_running_loop().time() - self._last_end_at
        if idle_s < FULL_S:
            self._look_again_in(FULL_S - idle_s)
            return
        sentence = (
            "all places of a lane are taken by handlers that do not end: raise --prefetch, or do not wait in them"
        )
        fields = {"action": "lane_full", "lane": self._name, "count": self._open_count, "handlers": _handlers_now()}
        _log.warning(sentence, extra=fields)

    async def _guarded(self, delivery: Delivery) -> None:
        try:
            await self._handle(delivery)
        except Exception:  # noqa: BLE001 - the border of one delivery: others go on, and the queue counts the attempts
            _log.exception("a delivery failed", extra={"action": "delivery_failed", "lane": self._name})
            delivery.requeue()

    def _ended(self, delivery: Delivery, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._release(delivery)

    def _release(self, delivery: Delivery) -> None:
        self._slots.release()
        self._limits.leave(delivery.event_type)
        delivery.end()
        self._open_count -= 1
        self._last_end_at = asyncio.get_running_loop().time()
        if not self._open_count:
            self._has_ended.set()

    async def drain(self) -> None:
        """Wait until all that was taken has ended, what still waits included: nobody else gets it sooner."""
        await self._has_ended.wait()
        self._is_closed = True

    async def cancel(self) -> int:
        """Start nothing more and cancel what still runs, unsettled; how many have not ended."""
        self._is_closed = True
        open_count, running = self._open_count, tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        return open_count


def _handlers_now() -> str:
    """The handlers that most tasks run now."""
    names = (task.get_name() for task in asyncio.all_tasks())
    counts = Counter(name.removeprefix(HANDLER_PREFIX) for name in names if name.startswith(HANDLER_PREFIX))
    return ", ".join(f"{count} times {name}" for name, count in counts.most_common(TOLD_COUNT))
