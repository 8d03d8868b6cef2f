"""The fleet's state as a message, from the lease table. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.messages import ShardStatus, WorkerStatus

if TYPE_CHECKING:
    from coordinator.lease_records import ShardRecord, WorkerRecord
    from coordinator.lease_table import LeaseTable

RENEW_INTERVAL_S = 2.0
LEASE_DURATION_S = 10.0
LATE = "late"


def is_late(worker: WorkerRecord, now: float) -> bool:
    """Whether its lease time has passed without a renewal: shown, but no reason to take anything away."""
    return now - worker.renewed_at > LEASE_DURATION_S


def late_workers(table: LeaseTable, now: float) -> frozenset[str]:
    """The ids of those that are late."""
    return frozenset(worker.worker_id for worker in table.workers if is_late(worker, now))


def shard_statuses(table: LeaseTable, now: float) -> tuple[ShardStatus, ...]:
    """All shards, ascending; those of a late worker are `late`."""
    late = late_workers(table, now)
    return tuple(_shard_status(record, late) for record in table.shards)


def _shard_status(record: ShardRecord, late: frozenset[str]) -> ShardStatus:
    session = record.session
    return ShardStatus(
        shard=record.shard,
        worker_id=record.holder,
        fencing_token=record.fencing_token,
        state=LATE if record.holder in late else record.state,
        session_id=session.session_id if session else None,
        seq=session.seq if session else None,
        latency_s=record.latency_s,
    )


def worker_statuses(table: LeaseTable, now: float) -> tuple[WorkerStatus, ...]:
    """All workers, by id."""
    held: dict[str, list[int]] = {}
    for record in table.shards:
        if record.holder is not None:
            held.setdefault(record.holder, []).append(record.shard)
    return tuple(
        WorkerStatus(
            worker_id=worker.worker_id,
            shards=worker.shards,
            capacity=worker.capacity,
            held=tuple(held.get(worker.worker_id, ())),
            draining=worker.is_draining,
            renewed_s=max(0.0, now - worker.renewed_at),
        )
        for worker in table.workers
    )
