"""What the lease table knows of one worker, of one shard, and of one change. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventbus.messages import Session


@dataclass(slots=True)
class WorkerRecord:
    """A registered worker; `wanted` None means any shard, `capacity` None no bound.

    `is_draining`: it gets nothing new. `is_leaving`: because it shuts down, and hands all over by itself.
    """

    worker_id: str
    shards: str
    wanted: frozenset[int] | None
    capacity: int | None
    renewed_at: float
    is_draining: bool = False
    is_leaving: bool = False


@dataclass(slots=True)
class ShardRecord:
    """A shard: who holds it and where its session stands.

    `fencing_token` is that of the last lease that was heard of, also while nobody holds the shard; `is_released` says
    that it was given back, so that nobody can claim it again. `reserved_token` is that of a grant that is being
    written. `session` outlives its holder: the next one resumes it.
    """

    shard: int
    holder: str | None = None
    fencing_token: int = 0
    reserved_token: int = 0
    is_released: bool = False
    released_by: str | None = None
    session: Session | None = None
    state: str = "free"
    latency_s: float | None = None

    def is_held_by(self, worker_id: str, fencing_token: int) -> bool:
        """Whether this very lease is the worker's."""
        return self.holder == worker_id and self.fencing_token == fencing_token

    def give(self, worker_id: str, fencing_token: int, *, state: str) -> None:
        """A worker holds it from now on."""
        self.holder, self.fencing_token, self.state = worker_id, fencing_token, state
        self.is_released, self.released_by, self.latency_s = False, None, None

    def free(self, *, released_by: str | None = None) -> None:
        """Nobody holds it from now on."""
        self.is_released, self.released_by = released_by is not None, released_by
        self.holder, self.state, self.latency_s = None, "free", None


class ChangeKind(StrEnum):
    """What happened to a lease."""

    GRANTED = "lease_granted"
    ADOPTED = "lease_adopted"
    RELEASED = "lease_released"
    FREED = "lease_freed"
    SESSION_DROPPED = "session_dropped"


@dataclass(frozen=True, slots=True)
class LeaseChange:
    """One change of one lease; `reason` is for people."""

    kind: ChangeKind
    shard: int
    worker_id: str
    fencing_token: int
    has_session: bool
    reason: str = ""
