"""Looks after the workers: buries those whose connections are gone, as the broker says, and warns of late ones."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from coordinator.fleet_state import late_workers
from coordinator.liveness import Liveness

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.lease_records import WorkerRecord
    from coordinator.lease_table import LeaseTable
    from coordinator.news import News
    from eventbus.amqp.control_channel import ControlChannel
    from eventbus.names import Names

_log = logging.getLogger(__name__)


class Undertaker:
    """`bury_the_dead` and `warn_of_late_workers` are called once a second by the one who leads."""

    def __init__(
        self, table: LeaseTable, *, control: ControlChannel, names: Names, news: News, clock: Callable[[], float]
    ) -> None:
        self._table = table
        self._control = control
        self._names = names
        self._news = news
        self._clock = clock
        self._liveness = Liveness()
        self._late: set[str] = set()

    def doubt_all(self) -> None:
        """Our own broker connection was lost, so those of the workers may have been."""
        self._liveness.doubt(worker.worker_id for worker in self._table.workers)

    async def bury_the_dead(self, is_leading: Callable[[], bool]) -> None:
        """Ask the broker for every worker, and free what the dead ones held."""
        asked = [(worker, worker.renewed_at) for worker in self._table.workers]
        verdicts = await asyncio.gather(*(self._is_dead(worker.worker_id) for worker, _ in asked))
        for (worker, renewed_at), is_dead in zip(asked, verdicts, strict=True):
            # Whoever spoke since it was asked for is back, and may be about to publish on our word.
            is_silent = worker in self._table.workers and worker.renewed_at == renewed_at
            if is_dead and is_silent and is_leading():
                await self._bury(worker)

    async def _is_dead(self, worker_id: str) -> bool:
        can_publish = await self._control.has_queue(self._names.worker(worker_id))
        if can_publish is None:
            return False
        has_inbox = can_publish or await self._control.has_queue(self._names.inbox(worker_id))
        if has_inbox is None:
            return False
        return self._liveness.is_dead(worker_id, can_publish=can_publish, has_inbox=has_inbox, now=self._clock())

    async def _bury(self, worker: WorkerRecord) -> None:
        worker_id = worker.worker_id
        self._liveness.forget(worker_id)
        self._late.discard(worker_id)
        shards = self._table.bury(worker_id)
        fields = {"action": "worker_dead", "worker": worker_id, "shard_count": len(shards)}
        _log.log(logging.WARNING if shards else logging.INFO, "worker is gone", extra=fields)
        await self._news.tell_death(worker_id, shards)
        await self._news.tell(self._table.take_changes())

    def warn_of_late_workers(self) -> None:
        """Say once of each worker that it does not renew in time."""
        late = late_workers(self._table, self._clock())
        for worker_id in sorted(late - self._late):
            _log.warning(
                "worker renews late: it keeps its leases while it can publish",
                extra={"action": "worker_late", "worker": worker_id},
            )
        self._late = set(late)
