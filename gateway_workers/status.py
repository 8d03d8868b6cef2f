"""Tells everyone how the shards of a worker are: when one of them changes, and every few seconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from eventbus.messages import ShardsStatus

if TYPE_CHECKING:
    from eventbus.amqp.control_channel import ControlChannel
    from gateway_workers.held_shards import HeldShards

LOOK_INTERVAL_S = 0.1
TELL_INTERVAL_S = 5.0


class StatusReporter:
    """One worker's; run `keep()` as a task, `tell()` at the end."""

    def __init__(self, control: ControlChannel, shards: HeldShards, *, worker_id: str) -> None:
        self._control = control
        self._shards = shards
        self._worker_id = worker_id

    async def keep(self) -> None:
        """Tell for ever."""
        loop = asyncio.get_running_loop()
        told, tell_at = None, loop.time()
        while True:
            now_is = [(live.shard, live.fencing_token, live.state, live.connect_count) for live in self._shards.live()]
            if now_is != told or loop.time() >= tell_at:
                await self.tell()
                told, tell_at = now_is, loop.time() + TELL_INTERVAL_S
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def tell(self) -> None:
        """Tell now."""
        status = ShardsStatus(worker_id=self._worker_id, shards=self._shards.live())
        await self._control.broadcast(status.kind, status)
