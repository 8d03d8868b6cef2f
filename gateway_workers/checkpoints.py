"""Writes checkpoints to the session stream, behind the confirms of the dispatches that they cover."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from eventbus import messages
from eventbus.amqp.publish_frames import URGENT_CHANNEL, PublishTemplate
from gateway_workers.checkpoint_plan import CheckpointPlan
from gateway_workers.outbox import ChannelMark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eventbus.messages import Checkpoint
    from gateway_workers.publisher import DispatchPublisher

INTERVAL_S = 0.05
"""Half of the 100 ms that are promised: the rest is for the confirms of a busy broker."""
MAX_UNCONFIRMED = 4
"""So many records may be on their way, so that a slow confirm delays none, and none pile up without a broker."""


class CheckpointWriter:
    """One worker's; `current()` gives the checkpoints of the shards that it runs. Run `keep()` as a task."""

    def __init__(
        self, publisher: DispatchPublisher, *, worker_id: str, current: Callable[[], Iterable[Checkpoint]]
    ) -> None:
        self._publisher = publisher
        self._worker_id = worker_id
        self._current = current
        self._plan = CheckpointPlan()
        self._mark = ChannelMark(URGENT_CHANNEL, 0)

    async def keep(self) -> None:
        """Write what changed, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self._publisher.confirmed(self._mark, all_but=MAX_UNCONFIRMED - 1)
            due = self._plan.due(self._current(), loop.time())
            if due:
                self._write(due)

    async def write_last(self, checkpoint: Checkpoint) -> None:
        """Write the last checkpoint of a lease and wait for its confirm."""
        self._write((checkpoint,))
        await self._publisher.confirmed(self._mark)

    def _write(self, checkpoints: tuple[Checkpoint, ...]) -> None:
        record = messages.Checkpoints(worker_id=self._worker_id, checkpoints=checkpoints)
        template = PublishTemplate(
            exchange="",
            routing_key=self._publisher.names.sessions,
            event_type=record.kind,
            headers={"worker_id": self._worker_id},
            frame_max=self._publisher.frame_max,
            channel=URGENT_CHANNEL,
        )
        number = self._mark.added + 1
        message_id = f"{self._worker_id}:{number}".encode()
        publish = template.render(messages.encode(record), message_id, replayed=False, received_at=time.time())
        self._publisher.add(self._mark, number, publish)
