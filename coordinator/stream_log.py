"""What coordinators tell each other through the session stream: who leads, what was granted, who may identify.

Everything is written and read back before anybody is told, so that whoever leads next knows it.
"""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING

from coordinator.identify_gate import PermitNews
from coordinator.terms import Terms
from eventbus import messages
from eventbus.errors import BrokerLostError
from eventbus.session_records import CONSEQUENCES, Refusal, refused_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from coordinator.identify_gate import IdentifyGate
    from coordinator.lease_table import LeaseTable
    from eventbus.amqp.session_stream import SessionStream

_log = logging.getLogger(__name__)

ABSURDLY_AHEAD_MS = 366 * 86_400_000


class StreamLog:
    """One coordinator's; `on_deposed()` is called when another one begins to lead while we do."""

    def __init__(
        self,
        stream: SessionStream,
        *,
        coordinator_id: str,
        table: LeaseTable,
        gate: IdentifyGate,
        clock: Callable[[], float],
        on_deposed: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._coordinator_id = coordinator_id
        self._table = table
        self._gate = gate
        self._clock = clock
        self._on_deposed = on_deposed
        self._terms = Terms()
        self.bound_tokens()
        stream.follow(self._on_record, on_loss=self._on_loss)

    @property
    def term(self) -> str | None:
        """Our term, None unless we lead."""
        return self._terms.own

    @property
    def has_predecessor(self) -> bool:
        """Whether the stream tells of a coordinator that led before the newest one."""
        return self._terms.has_predecessor

    @staticmethod
    def now_ms() -> int:
        """The wall clock, in milliseconds since the epoch: what fencing tokens begin with."""
        return int(time.time() * 1000)

    def bound_tokens(self) -> None:
        """Believe no token that a coordinator with a halfway right clock cannot have granted; call it now and then."""
        self._table.highest_believable_token = self.now_ms() + ABSURDLY_AHEAD_MS

    # Writing

    async def begin_term(self) -> bool:
        """Begin to lead: then all that was written before is known, and nothing else of others counts any more."""
        term = secrets.token_hex(8)
        self._terms.expect(term)
        return await self._append(messages.Leading(coordinator_id=self._coordinator_id, term=term), term)

    async def write_grants(self, grants: Iterable[messages.Grant]) -> bool:
        """Write grants; False if they are void or may be."""
        term = self._terms.own
        return term is not None and await self._append(messages.Grants(term=term, grants=tuple(grants)), term)

    async def write_again(self, record: messages.Checkpoints) -> bool:
        """Write what is known of shards that nobody holds, before the stream forgets it; False if we do not lead."""
        term = self._terms.own
        return term is not None and await self._append(record, term)

    async def write_permit(self, shard: int, now: float, valid_s: float) -> bool:
        """Write a permit that the gate has just granted; False if it is void or may be."""
        term = self._terms.own
        if term is None:
            return False
        record = messages.PermitRecord(
            term=term,
            shard=shard,
            max_concurrency=self._gate.max_concurrency,
            granted_at=time.time(),
            remaining=self._gate.remaining,
            total=self._gate.total,
            reset_after_s=max(0.0, self._gate.reset_at - now),
            valid_s=valid_s,
        )
        return await self._append(record, term)

    async def _append(self, record: messages.Message, term: str) -> bool:
        try:
            await self._stream.append(record)
        except BrokerLostError as error:
            fields = {"action": "stream_unwritable", "record": type(record).__name__, "reason": str(error)}
            _log.warning("nothing is granted: the session stream does not take it", extra=fields)
            return False
        return self._terms.own == term

    # Reading

    def _on_loss(self) -> None:
        self._terms.note_loss()
        self._table.note_loss()

    def _on_record(self, record: messages.SessionRecord) -> None:
        match record:
            case messages.Checkpoints():
                self._on_checkpoints(record)
            case messages.Leading():
                if self._terms.began(record.term):
                    self._on_deposed()
            case messages.Grants():
                self._on_grants(record)
            case messages.PermitRecord():
                self._on_permit(record)

    def _on_checkpoints(self, record: messages.Checkpoints) -> None:
        for checkpoint in record.checkpoints:
            doubt = self._table.doubt_of(checkpoint, record.worker_id)
            if doubt is None:
                self._table.checkpoints.learn(checkpoint, record.worker_id)
            else:
                self._stream.refuse(refused_checkpoint(checkpoint.shard, doubt))

    def _on_grants(self, record: messages.Grants) -> None:
        if self._terms.is_void(record.term):
            return
        for grant in record.grants:
            if self._table.believes(grant.fencing_token):
                self._table.grants.learn(grant)
            else:
                reason = f"shard {grant.shard}: the fencing token {grant.fencing_token} is absurd"
                self._stream.refuse(Refusal(f"grants/{grant.shard}", reason, CONSEQUENCES["grants"]))

    def _on_permit(self, record: messages.PermitRecord) -> None:
        if self._terms.is_void(record.term) or self._terms.is_own(record.term):
            return
        news = PermitNews(
            shard=record.shard,
            max_concurrency=record.max_concurrency,
            remaining=record.remaining,
            total=record.total,
            reset_after_s=record.reset_after_s,
            valid_s=record.valid_s,
        )
        # Clocks differ: only what claims to be long past is taken for it, and only what we did not see being written.
        age_s = 0.0 if self._stream.is_live else max(0.0, time.time() - record.granted_at)
        self._gate.learn_permit(news, read_at=self._clock(), age_s=age_s)
