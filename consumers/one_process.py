"""Work that one process of a group does at a time: periodic loops, feeds, anything that is no dispatch."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from eventbus.amqp.exclusive_lock import locked
from eventbus.errors import BrokerLostError, QueueBusyError
from eventbus.process import end_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventbus.amqp.link import Link
    from eventbus.names import Names

    Work = Callable[[], Awaitable[object]]

_log = logging.getLogger(__name__)

ASK_INTERVAL_S = 1.0
FAILED_WAIT_S = 5.0


class OneProcess:
    """This process's part in who does it: whoever has the lock, and another one when that one is gone."""

    def __init__(self, link: Link, names: Names, group: str) -> None:
        self._link = link
        self._names = names
        self._group = group

    async def keep(self, name: str, work: Work) -> None:
        """Do `work` whenever no other process of the group does it, for ever."""
        while True:
            wait_s = ASK_INTERVAL_S
            try:
                async with locked(self._link, self._names.work(self._group, name)) as lost:
                    if not await self._do(name, work, lost):
                        wait_s = FAILED_WAIT_S
            except (QueueBusyError, BrokerLostError) as error:
                _log.debug("not here", extra={"action": "work_elsewhere", "work": name, "reason": str(error)})
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _do(self, name: str, work: Work, lost: asyncio.Event) -> bool:
        """Until another process may do it: False if it failed. What has ended is not begun again while we live."""
        _log.info("work of one process begins here", extra={"action": "work_begins", "work": name})
        working = asyncio.create_task(_call(work), name=f"work of one process: {name}")
        losing = asyncio.create_task(lost.wait(), name="loss of the lock")
        try:
            await asyncio.wait({working, losing}, return_when=asyncio.FIRST_COMPLETED)
            if working.done() and (error := working.exception()) is not None:
                fields = {"action": "work_failed", "work": name}
                _log.error("work of one process failed: it is tried again", extra=fields, exc_info=error)
                return False
            await losing
            _log.warning("work of one process is left to others: the broker is lost", extra={"action": "work_lost"})
        finally:
            losing.cancel()
            await end_tasks([working])
        return True


async def _call(work: Work) -> None:
    await work()
