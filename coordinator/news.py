"""Lease changes as log lines, as broadcasts and as pokes of the workers that they concern."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from coordinator.lease_records import ChangeKind
from eventbus.messages import LeaseGranted, LeaseReleased, Poke, WorkerDead

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coordinator.lease_records import LeaseChange
    from coordinator.rebalance import Move
    from eventbus.amqp.control_channel import ControlChannel
    from eventbus.names import Names

_log = logging.getLogger(__name__)

_TEXTS = {
    ChangeKind.GRANTED: "lease granted",
    ChangeKind.ADOPTED: "running lease learned",
    ChangeKind.RELEASED: "lease released",
    ChangeKind.FREED: "lease freed",
    ChangeKind.SESSION_DROPPED: "session dropped",
}


class News:
    """Tells everyone what the lease table decided."""

    def __init__(self, control: ControlChannel, names: Names) -> None:
        self._control = control
        self._names = names

    async def tell(self, changes: Iterable[LeaseChange], *, but_not: str | None = None) -> None:
        """Log and broadcast `changes`; poke each worker that was granted a lease, except `but_not`, who is answered."""
        granted_to: set[str] = set()
        for change in changes:
            self._log_change(change)
            if change.kind is ChangeKind.GRANTED:
                granted_to.add(change.worker_id)
            await self._broadcast(change)
        for worker_id in sorted(granted_to - {but_not}):
            await self._control.send(self._names.inbox(worker_id), Poke())

    async def tell_moves(self, moves: Iterable[Move], *, but_not: str | None = None) -> None:
        """Log hand-overs that begin and poke their givers, except `but_not`, who is answered."""
        givers: set[str] = set()
        for move in moves:
            givers.add(move.giver)
            fields = {"action": "hand_over_asked", "shard": move.shard, "giver": move.giver, "receiver": move.receiver}
            _log.info("asking for a hand-over", extra=fields)
        for worker_id in sorted(givers - {but_not}):
            await self._control.send(self._names.inbox(worker_id), Poke())

    async def tell_death(self, worker_id: str, shards: tuple[int, ...]) -> None:
        """Broadcast that a worker is gone."""
        await self._broadcast_message(WorkerDead(worker_id=worker_id, shards=shards))

    def _log_change(self, change: LeaseChange) -> None:
        fields = {"action": str(change.kind), "shard": change.shard, "worker": change.worker_id}
        fields |= {"token": change.fencing_token, "session": change.has_session}
        if change.reason:
            fields["reason"] = change.reason
        level = logging.WARNING if change.kind in (ChangeKind.FREED, ChangeKind.SESSION_DROPPED) else logging.INFO
        _log.log(level, _TEXTS[change.kind], extra=fields)

    async def _broadcast(self, change: LeaseChange) -> None:
        who = {"shard": change.shard, "worker_id": change.worker_id, "fencing_token": change.fencing_token}
        if change.kind in (ChangeKind.GRANTED, ChangeKind.ADOPTED):
            await self._broadcast_message(LeaseGranted.model_validate(who | {"resumes": change.has_session}))
        elif change.kind in (ChangeKind.RELEASED, ChangeKind.FREED):
            await self._broadcast_message(LeaseReleased.model_validate(who | {"reason": change.reason or "released"}))

    async def _broadcast_message(self, message: LeaseGranted | LeaseReleased | WorkerDead) -> None:
        await self._control.broadcast(message.kind, message)
