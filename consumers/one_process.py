"""Work that one process of a group does at a time: periodic loops, feeds, anything that is no dispatch."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from eventbus.amqp.exclusive_lock import LockProbe, locked
from eventbus.errors import BrokerLostError, QueueBusyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventbus.amqp.link import Link
    from eventbus.names import Names

    Work = Callable[[], Awaitable[object]]

_log = logging.getLogger(__name__)

ASK_INTERVAL_S = 1.0
FAILED_WAIT_S = 5.0
CLEAN_UP_S = 10.0


class OneProcess:
    """This process's part in who does it: whoever has the lock, and another one when that one is gone.

    `on_exit` is called with what `sys.exit` raised in the work, and does what a signal does.
    """

    def __init__(self, link: Link, names: Names, group: str, *, on_exit: Callable[[SystemExit], None]) -> None:
        self._link = link
        self._names = names
        self._group = group
        self._on_exit = on_exit
        self._probe = LockProbe(link)

    async def keep(self, name: str, work: Work) -> None:
        """Do `work` whenever no other process of the group does it, for ever."""
        lock = self._names.work(self._group, name)
        while True:
            wait_s = ASK_INTERVAL_S
            try:
                if not await self._probe.is_taken(lock):
                    async with locked(self._link, lock) as lost:
                        wait_s = ASK_INTERVAL_S if await self._do(name, work, lost) else FAILED_WAIT_S
            except (QueueBusyError, BrokerLostError) as error:
                _log.debug("not here", extra={"action": "work_elsewhere", "work": name, "reason": str(error)})
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _do(self, name: str, work: Work, lost: asyncio.Event) -> bool:
        """Until another process may do it: False if it failed. What has ended is not begun again meanwhile."""
        _log.info("work of one process begins here", extra={"action": "work_begins", "work": name})
        working = asyncio.create_task(self._call(work), name=f"work of one process: {name}")
        losing = asyncio.create_task(lost.wait(), name="loss of the lock")
        try:
            await asyncio.wait({working, losing}, return_when=asyncio.FIRST_COMPLETED)
            if working.done() and (error := _failure_of(working)) is not None:
                fields = {"action": "work_failed", "work": name}
                _log.error("work of one process failed: it is tried again", extra=fields, exc_info=error)
                return False
            await losing
            fields = {"action": "work_lost", "work": name}
            _log.warning("work of one process is left to others: the broker is lost", extra=fields)
        finally:
            losing.cancel()
            await _end(working)
        return True

    async def _call(self, work: Work) -> None:
        try:
            await work()
        except SystemExit as request:
            self._on_exit(request)


async def _end(working: asyncio.Task[None]) -> None:
    """Cancel it and wait for its clean-up, also if we are cancelled once more meanwhile: the lock goes after it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CLEAN_UP_S
    again: asyncio.CancelledError | None = None
    working.cancel()
    while not working.done() and (left_s := deadline - loop.time()) > 0:
        try:
            await asyncio.wait({working}, timeout=left_s)
        except asyncio.CancelledError as error:
            again = error
    if again is not None:
        raise again


def _failure_of(ended: asyncio.Task[None]) -> BaseException | None:
    if ended.cancelled():  # by itself: what it awaited was
        return asyncio.CancelledError("what it awaited was cancelled")
    return ended.exception()
