"""Hand-overs: a shard's session is passed on, none of its dispatches lost, none published twice, no Identify spent.

The order is the protocol: no more commands, close without ending the session, all confirmed, last checkpoint written,
the broker vouches for us no longer, release. Nothing of the shard is published after that.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from eventbus import messages
from eventbus.errors import RelayError
from gateway_workers.gateway_socket import CLOSE_TIMEOUT_S
from gateway_workers.held_shards import UNBIND_TIMEOUT_S
from gateway_workers.shard import DRAIN_TIMEOUT_S, STOP_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eventbus.coordinator_client import CoordinatorClient
    from gateway_workers.checkpoints import CheckpointWriter
    from gateway_workers.held_shards import HeldShards
    from gateway_workers.shard import Shard

_log = logging.getLogger(__name__)

RELEASE_TIMEOUT_S = 10.0
LAST_CHECKPOINT_TIMEOUT_S = 5.0
GIVE_BACK_TIMEOUT_S = 11.0
"""For unbinding and release together."""
LONGEST_S = sum(
    (
        *(UNBIND_TIMEOUT_S, STOP_TIMEOUT_S, CLOSE_TIMEOUT_S + 1, DRAIN_TIMEOUT_S),
        *(LAST_CHECKPOINT_TIMEOUT_S, GIVE_BACK_TIMEOUT_S),
    )
)
"""A hand-over is over by then; the coordinator forgets it later (docs/decisions/0007)."""
AT_ONCE = 4
"""At a drain: so that each shard's gap is short, on this side and on its receiver's."""
PATIENCE_S = 2.0
"""After this time of a drain the rest goes at once: a slow broker must not make it take for ever."""
NEXT_AFTER_S = 0.5


class HandOvers:
    """One worker's: each shard is handed over at most once, beside all others. `on_unreleased()` hears of failures."""

    def __init__(
        self,
        coordinator: CoordinatorClient,
        shards: HeldShards,
        checkpoints: CheckpointWriter,
        group: asyncio.TaskGroup,
        *,
        worker_id: str,
        on_unreleased: Callable[[], None],
    ) -> None:
        self._coordinator = coordinator
        self._shards = shards
        self._checkpoints = checkpoints
        self._group = group
        self._worker_id = worker_id
        self._on_unreleased = on_unreleased
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, shards: Iterable[Shard]) -> None:
        """Hand these over; one whose hand-over has begun is left to it."""
        for shard in shards:
            if self._shards.begin_hand_over(shard):
                name = f"hand-over of shard {shard.lease.shard}"
                task = self._group.create_task(self._hand_over(shard), name=name)
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def hand_over_all(self) -> None:
        """Hand over all that is held, few at a time, and wait until that is done."""
        loop = asyncio.get_running_loop()
        patience_ends_at = loop.time() + PATIENCE_S
        while waiting := [shard for shard in self._shards if not self._shards.is_leaving(shard)]:
            room = max(AT_ONCE - len(self._tasks), 0) if loop.time() < patience_ends_at else len(waiting)
            self.begin(waiting[:room])
            await asyncio.wait(self._tasks, timeout=NEXT_AFTER_S, return_when=asyncio.FIRST_COMPLETED)
        await self.ended()

    async def ended(self) -> None:
        """Wait until all that have begun are over."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def give_up(self) -> None:
        """End those that are under way; their shards have closed by then."""
        for task in self._tasks:
            task.cancel()
        await self.ended()

    async def _hand_over(self, shard: Shard) -> None:
        number = shard.lease.shard
        await self._shards.refuse_commands(number)
        session = await shard.hand_over()
        if shard not in self._shards:
            return  # the lease was lost meanwhile: nothing of it may be written any more
        await self._write_last_checkpoint(shard)
        if shard not in self._shards:
            return
        self._shards.begin_release(shard)
        try:
            async with asyncio.timeout(GIVE_BACK_TIMEOUT_S):
                await self._shards.unvouch(number)
                await self.release(shard.lease, session)
        except TimeoutError:
            self._on_unheard(number, f"nobody heard it within {GIVE_BACK_TIMEOUT_S:g} s")
        self._shards.forget(shard)  # not if we are given up meanwhile: it counts as left behind

    async def release(self, lease: messages.Lease, session: messages.Session | None) -> None:
        """Give a lease back. If nobody heard it, the next registration says so."""
        number = lease.shard
        request = messages.Release(
            worker_id=self._worker_id, shard=number, fencing_token=lease.fencing_token, session=session
        )
        try:
            await self._coordinator.call_until(request, messages.Done, timeout_s=RELEASE_TIMEOUT_S)
        except RelayError as error:
            self._on_unheard(number, str(error))
        else:
            seq = session.seq if session else None
            _log.info("handed over", extra={"action": "handed_over", "shard": number, "seq": seq})

    def _on_unheard(self, number: int, reason: str) -> None:
        _log.warning("release failed", extra={"action": "release_failed", "shard": number, "reason": reason})
        self._on_unreleased()

    async def _write_last_checkpoint(self, shard: Shard) -> None:
        try:
            async with asyncio.timeout(LAST_CHECKPOINT_TIMEOUT_S):
                await self._checkpoints.write_last(shard.stream_checkpoint())
        except TimeoutError:
            fields = {"action": "last_checkpoint_unconfirmed", "shard": shard.lease.shard}
            _log.warning("the last checkpoint is unconfirmed", extra=fields)
