"""The lease table: which worker may run which shard, by leases with growing fencing tokens. Pure.

It only decides. Whether a worker lives and whether a shard's last holder can still publish are the broker's to say:
the shell asks, calls `bury` for the dead, and `grant` for those of `proposals` that nobody holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordinator.checkpoint_book import CheckpointBook
from coordinator.errors import (
    MalformedRangeError,
    NotReadyError,
    RefusedRequestError,
    ShardOutOfRangeError,
    StaleLeaseError,
    UnknownWorkerError,
)
from coordinator.grant_book import GrantBook
from coordinator.hand_over_book import HandOverBook
from coordinator.lease_records import ChangeKind, LeaseChange, ShardRecord, WorkerRecord
from coordinator.placement import Candidate, place
from eventbus.messages import Grant, Lease
from eventbus.shard_ranges import format_shards, parse_shard_range

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from eventbus.messages import Checkpoint, HeldLease, Register, Release, Renew, Session

# Largest integer that every JSON reader keeps exact; a token beyond it is no token of a coordinator.
MAX_FENCING_TOKEN = 2**53 - 1
LEARN_RETRY_S = 0.5


class LeaseTable:
    """All leases of one bot.

    `is_count_fixed`: the operator set the shard count; otherwise a running fleet's own count wins over `shard_count`
    until `settle()`, because Discord's recommendation may have changed since the fleet started.
    `intents`: a session that was opened with others is not passed on, since it would keep them; None: any is.
    """

    def __init__(self, shard_count: int, *, is_count_fixed: bool = True, intents: int | None = None) -> None:
        self._intents = intents
        self.checkpoints = CheckpointBook()
        self.grants = GrantBook()
        self.highest_believable_token = MAX_FENCING_TOKEN
        self.hand_overs = HandOverBook()
        self._last_token = 0
        self._is_settled = is_count_fixed
        self._workers: dict[str, WorkerRecord] = {}
        self._shards = {shard: ShardRecord(shard) for shard in range(shard_count)}
        self._changes: list[LeaseChange] = []

    # What is known

    @property
    def shard_count(self) -> int:
        """The bot's shard count."""
        return len(self._shards)

    @property
    def is_settled(self) -> bool:
        """Whether the shard count can no longer change."""
        return self._is_settled

    @property
    def is_count_doubtful(self) -> bool:
        """Whether the stream tells of a fleet with another shard count, which may still run and tell its own."""
        return not self._is_settled and self.checkpoints.has_session_of_another_count(self.shard_count)

    @property
    def workers(self) -> tuple[WorkerRecord, ...]:
        """All registered workers, by id."""
        return tuple(self._workers[worker_id] for worker_id in sorted(self._workers))

    @property
    def shards(self) -> tuple[ShardRecord, ...]:
        """All shards, ascending."""
        return tuple(self._shards.values())

    def leases_of(self, worker_id: str) -> tuple[Lease, ...]:
        """What the worker should hold, ascending."""
        return tuple(
            Lease(shard=one.shard, fencing_token=one.fencing_token, session=one.session)
            for one in self._held_by(worker_id)
        )

    def holds(self, worker_id: str, shard: int, fencing_token: int) -> bool:
        """Whether the worker holds the shard under this token."""
        return shard in self._shards and self._shards[shard].is_held_by(worker_id, fencing_token)

    def is_draining(self, worker_id: str) -> bool:
        """Whether the worker gets nothing new."""
        worker = self._workers.get(worker_id)
        return worker is not None and worker.is_draining

    def asked_of(self, worker_id: str) -> tuple[int, ...]:
        """The shards that the worker holds and should hand over now, ascending."""
        asked = [one.move.shard for one in self.hand_overs if one.move.giver == worker_id]
        return tuple(sorted(shard for shard in asked if self.hand_overs.is_asked(self._shards[shard])))

    def believes(self, fencing_token: int) -> bool:
        """Whether a coordinator could have granted this token."""
        return fencing_token <= self.highest_believable_token

    def doubt_of(self, checkpoint: Checkpoint, worker_id: str) -> str | None:
        """Why a checkpoint that a worker wrote cannot be true, or None."""
        shard, token = checkpoint.shard, checkpoint.fencing_token
        if not self.believes(token):
            return f"the fencing token {token} is absurd"
        if self._is_of_another(shard, token, worker_id):
            return f"the fencing token {token} is another worker's"
        if self.grants.is_told(shard) and token > self.grants.token_of(shard):
            return f"the fencing token {token} was never granted"
        if checkpoint.session is not None and checkpoint.shard >= checkpoint.session.shard_count:
            return f"its session has only {checkpoint.session.shard_count} shards"
        return None

    def note_loss(self) -> None:
        """Records of the stream may have been missed: what is known is no longer known to be the newest."""
        self.checkpoints.note_loss()
        self.grants.note_loss()

    def take_changes(self) -> list[LeaseChange]:
        """What changed since the last call, in order."""
        changes, self._changes = self._changes, []
        return changes

    # What workers say

    def register(self, request: Register, now: float) -> None:
        """Enter a worker, or replace the one with its id, with all that it holds.

        Raises MalformedRangeError, ShardOutOfRangeError or NotReadyError (before `settle()`).
        """
        wanted = _wanted(request.shards)
        self._follow_running_count(request)
        self._check_range(wanted, request.shards)
        before = self._workers.get(request.worker_id)
        self._workers[request.worker_id] = WorkerRecord(
            worker_id=request.worker_id,
            shards=request.shards,
            wanted=wanted,
            capacity=request.capacity,
            renewed_at=now,
            # One that still holds something is the draining process itself, which answers a roll call.
            is_draining=request.draining or (before is not None and before.is_draining and bool(request.held)),
            is_leaving=before is not None and before.is_leaving and bool(request.held),
        )
        self._free_unreported(request)
        self._take_report(request.worker_id, request.held)

    def renew(self, request: Renew, now: float) -> None:
        """Take a worker's report of all that it holds. Raises UnknownWorkerError."""
        worker = self._worker(request.worker_id)
        worker.renewed_at = now
        self._take_report(worker.worker_id, request.held)

    def leave(self, worker_id: str) -> None:
        """The worker shuts down: it hands over what it holds and gets nothing new. Raises UnknownWorkerError."""
        worker = self._worker(worker_id)
        worker.is_draining = worker.is_leaving = True
        self.hand_overs.forget_giver(worker_id)

    def drain(self, worker_id: str) -> None:
        """The operator takes a worker out: it gets nothing new. Raises UnknownWorkerError."""
        self._known_worker(worker_id).is_draining = True
        self.hand_overs.forget_receiver(worker_id)

    def undrain(self, worker_id: str) -> None:
        """The operator lets a worker take shards again. Raises UnknownWorkerError or RefusedRequestError."""
        worker = self._known_worker(worker_id)
        if worker.is_leaving:
            raise RefusedRequestError(f"worker {worker_id} is shutting down: it takes nothing more; start another one")
        worker.is_draining = False
        self.hand_overs.forget_giver(worker_id)

    def release(self, request: Release) -> None:
        """Take a lease back; its session stays for the next holder. Raises StaleLeaseError, which changes nothing."""
        record = self._shards.get(request.shard)
        if record is None or not self._may_release(record, request):
            raise StaleLeaseError(
                f"worker {request.worker_id} does not hold shard {request.shard} with fencing token"
                f" {request.fencing_token}: drop the lease and renew"
            )
        self._last_token = max(self._last_token, request.fencing_token)
        record.fencing_token = request.fencing_token
        record.session = self._usable(request.session, record, request.worker_id)
        record.free(released_by=request.worker_id)
        self._note(ChangeKind.RELEASED, record, request.worker_id)

    # What the shell decides with the broker's word

    def start_tokens_above(self, fencing_token: int) -> None:
        """Grant only fencing tokens above this one, and above all that were learned or granted."""
        self._last_token = max(self._last_token, fencing_token)

    def bury(self, worker_id: str) -> tuple[int, ...]:
        """Forget a dead worker; the shards it held, now free, keep their sessions."""
        self._workers.pop(worker_id, None)
        self.hand_overs.forget_receiver(worker_id)
        held = self._held_by(worker_id)
        for record in held:
            record.free()
            self._note(ChangeKind.FREED, record, worker_id, "its worker is gone")
        return tuple(record.shard for record in held)

    def forget_holders(self) -> None:
        """Forget who holds what, and all workers; fencing tokens and sessions stay known."""
        self._workers.clear()
        self.hand_overs.clear()
        for record in self._shards.values():
            if record.holder is not None:
                record.free()

    def settle(self) -> None:
        """The fleet was heard: the shard count stays."""
        self._is_settled = True

    def proposals(self, *, late: Collection[str] = ()) -> list[tuple[int, str]]:
        """Free shards and the workers that should get them, as (shard, worker id); the `late` ones come last."""
        free = [record for record in self._shards.values() if record.holder is None]
        released_by = {record.shard: record.released_by for record in free if record.released_by is not None}
        receivers = self.hand_overs.receivers
        shards = (one.shard for one in free)
        return place(shards, self._candidates(), released_by=released_by, receivers=receivers, late=late)

    def reserve(self, shard: int, worker_id: str) -> Grant | None:
        """Take the token of a proposal, to be written before it is granted; None if it no longer holds good.

        Only after the broker said that nobody can publish: from here on no older lease of the shard is believed, even
        if the grant never comes about.
        """
        if not self._may_grant(shard, worker_id):
            return None
        known = (self._last_token, self.checkpoints.highest_token, self.grants.highest_token)
        self._last_token = self._shards[shard].reserved_token = max(known) + 1
        return Grant(shard=shard, fencing_token=self._last_token, worker_id=worker_id)

    def grant(self, shard: int, worker_id: str, fencing_token: int | None = None) -> Lease | None:
        """Grant a proposal under its reserved token (None: reserved here); None if it no longer holds good."""
        reserved = None
        if fencing_token is None:
            reserved = self.reserve(shard, worker_id)
        elif self._may_grant(shard, worker_id) and self._shards[shard].reserved_token == fencing_token:
            reserved = Grant(shard=shard, fencing_token=fencing_token, worker_id=worker_id)
        if reserved is None:
            return None
        record = self._shards[shard]
        self.grants.learn(reserved)
        record.session = self._usable(self.checkpoints.session_for(record), record, worker_id)
        record.give(worker_id, reserved.fencing_token, state="granted")
        self._note(ChangeKind.GRANTED, record, worker_id)
        return Lease(shard=shard, fencing_token=record.fencing_token, session=record.session)

    # Inside

    def _may_grant(self, shard: int, worker_id: str) -> bool:
        record, candidate = self._shards.get(shard), self._candidate(worker_id)
        if record is None or record.holder is not None or candidate is None:
            return False
        return candidate.takes(shard, lease_count=candidate.lease_count)

    def _is_of_another(self, shard: int, fencing_token: int, worker_id: str) -> bool:
        return self.grants.grantee_of(shard, fencing_token) not in (None, worker_id)

    def _is_above_all(self, shard: int, fencing_token: int) -> bool:
        """Whether the stream would tell of this token if a coordinator had granted it, and does not."""
        is_told = self.grants.is_told(shard) or self.checkpoints.is_told(shard)
        return is_told and fencing_token > max(self.grants.token_of(shard), self.checkpoints.token_of(shard))

    def _newest_token(self, record: ShardRecord) -> int:
        # Whoever wrote a checkpoint was granted its token, also if the stream has forgotten the grant.
        known = self.checkpoints.token_of(record.shard), self.grants.token_of(record.shard)
        return max(record.fencing_token, record.reserved_token, *known)

    def _worker(self, worker_id: str) -> WorkerRecord:
        if worker_id not in self._workers:
            raise UnknownWorkerError(f"worker {worker_id} is not registered here: register with all that it holds")
        return self._workers[worker_id]

    def _known_worker(self, worker_id: str) -> WorkerRecord:
        if worker_id not in self._workers:
            known = ", ".join(sorted(self._workers)) or "none"
            raise UnknownWorkerError(f"there is no worker {worker_id}; registered are: {known}")
        return self._workers[worker_id]

    def _held_by(self, worker_id: str) -> list[ShardRecord]:
        return [record for record in self._shards.values() if record.holder == worker_id]

    def _candidates(self) -> list[Candidate]:
        counts: dict[str, int] = {}
        for record in self._shards.values():
            if record.holder is not None:
                counts[record.holder] = counts.get(record.holder, 0) + 1
        for entry in self.hand_overs:  # the receiver's room for it is taken
            if entry.is_asked(self._shards[entry.move.shard]):
                counts[entry.move.receiver] = counts.get(entry.move.receiver, 0) + 1
        return [_as_candidate(worker, counts.get(worker.worker_id, 0)) for worker in self._workers.values()]

    def _candidate(self, worker_id: str) -> Candidate | None:
        return next((one for one in self._candidates() if one.worker_id == worker_id), None)

    def _check_range(self, wanted: frozenset[int] | None, text: str) -> None:
        beyond = [shard for shard in wanted or () if shard >= self.shard_count]
        if not beyond:
            return
        if not self._is_settled:
            raise NotReadyError("the shard count is not known yet: ask again", retry_after_s=LEARN_RETRY_S)
        raise ShardOutOfRangeError(
            f"the shard range {text!r} reaches to shard {max(beyond)}, but the bot has {self.shard_count} shards"
            f" ({format_shards(self._shards)}): correct --shards (GW_SHARDS) of the worker or --shard-count"
            " (GW_SHARD_COUNT) of the coordinator"
        )

    def _follow_running_count(self, request: Register) -> None:
        running = {
            lease.session.shard_count
            for lease in request.held
            if lease.session is not None and self._is_newest(lease, request.worker_id)
        }
        if self._is_settled or len(running) != 1:
            return
        self._shards = {shard: ShardRecord(shard) for shard in range(running.pop())}
        self._is_settled = True

    def _free_unreported(self, request: Register) -> None:
        reported = {(lease.shard, lease.fencing_token) for lease in request.held}
        for record in self._held_by(request.worker_id):
            if (record.shard, record.fencing_token) not in reported:
                record.free()
                self._note(ChangeKind.FREED, record, request.worker_id, "its worker registered without it")

    def _take_report(self, worker_id: str, held: Iterable[HeldLease]) -> None:
        for lease in held:
            record = self._shards.get(lease.shard)
            if record is None or not self._is_possible(lease.shard, lease.fencing_token):
                continue
            if self._may_claim(record, worker_id, lease):
                self._adopt(record, worker_id, lease)
            if record.is_held_by(worker_id, lease.fencing_token):
                self._refresh(record, lease)

    def _is_newest(self, lease: HeldLease, worker_id: str) -> bool:
        shard, token = lease.shard, lease.fencing_token
        known = max(self.grants.token_of(shard), self.checkpoints.token_of(shard))
        return token >= known and self._is_possible(shard, token) and not self._is_of_another(shard, token, worker_id)

    def _is_possible(self, shard: int, fencing_token: int) -> bool:
        return self.believes(fencing_token) and not self._is_above_all(shard, fencing_token)

    def _may_claim(self, record: ShardRecord, worker_id: str, lease: HeldLease) -> bool:
        token = lease.fencing_token
        if lease.session is not None and lease.session.shard_count != self.shard_count:
            return False  # another shard count's session: its worker drops it and gets the shard anew
        if token < self._newest_token(record) or self._is_of_another(record.shard, token, worker_id):
            return False
        if record.holder is None and not record.is_released:
            return True
        # Above the newest grant there is none; but a holder that was only believed gives way.
        is_newest = record.holder and self.grants.grantee_of(record.shard, record.fencing_token) == record.holder
        return token > record.fencing_token and not is_newest

    def _adopt(self, record: ShardRecord, worker_id: str, lease: HeldLease) -> None:
        if record.holder is not None:
            self._note(ChangeKind.FREED, record, record.holder, "another worker holds a higher fencing token")
        record.give(worker_id, lease.fencing_token, state=lease.state)
        self._last_token = max(self._last_token, lease.fencing_token)
        record.session = lease.session or record.session
        self._note(ChangeKind.ADOPTED, record, worker_id)

    def _refresh(self, record: ShardRecord, lease: HeldLease) -> None:
        record.state, record.latency_s = lease.state, lease.latency_s
        # No session in a report is no news: a stale one costs an op 9, a lost one costs dispatches.
        if lease.session is not None and lease.session.shard_count == self.shard_count:
            record.session = lease.session

    def _may_release(self, record: ShardRecord, request: Release) -> bool:
        if record.is_held_by(request.worker_id, request.fencing_token):
            return True
        # A worker that drains while the coordinator changes: nobody has told this one of the lease yet.
        is_unheard = record.holder is None and record.fencing_token == 0 and request.worker_id not in self._workers
        shard, token = record.shard, request.fencing_token
        if not is_unheard or not self._is_possible(shard, token) or token < self._newest_token(record):
            return False
        grantee = self.grants.grantee_of(shard, token)
        if grantee is None:  # forgotten by the stream: the lease's last checkpoint, written before, stands for it
            return 0 < token == self.checkpoints.token_of(shard)
        return grantee == request.worker_id

    def _usable(self, session: Session | None, record: ShardRecord, worker_id: str) -> Session | None:
        if session is None:
            return None
        if session.shard_count != self.shard_count:
            reason = f"it was of {session.shard_count} shards: identify instead"
        elif session.intents not in (None, self._intents) and self._intents is not None:
            reason = (
                f"it was opened with the intents {session.intents}, and they are {self._intents} now: identify instead"
            )
        else:
            return session
        self._note(ChangeKind.SESSION_DROPPED, record, worker_id, reason)
        return None

    def _note(self, kind: ChangeKind, record: ShardRecord, worker_id: str, reason: str = "") -> None:
        self._changes.append(
            LeaseChange(kind, record.shard, worker_id, record.fencing_token, record.session is not None, reason)
        )


def _wanted(shards: str) -> frozenset[int] | None:
    try:
        return parse_shard_range(shards)
    except ValueError as error:
        raise MalformedRangeError(str(error)) from error


def _as_candidate(worker: WorkerRecord, lease_count: int) -> Candidate:
    return Candidate(worker.worker_id, worker.wanted, worker.capacity, lease_count, worker.is_draining)
