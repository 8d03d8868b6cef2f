"""The newest checkpoint of every shard, as the session stream tells it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.messages import Checkpoints

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from coordinator.lease_records import ShardRecord
    from eventbus.messages import Checkpoint, Session

RECORD_SIZE = 100  # checkpoints


class CheckpointBook:
    """Takes checkpoints in the order of the stream."""

    def __init__(self) -> None:
        self._newest: dict[int, Checkpoint] = {}
        self._writers: dict[int, str] = {}
        self._told: set[int] = set()
        self._ended: set[int] = set()
        self.highest_token = 0

    def learn(self, checkpoint: Checkpoint, writer: str) -> None:
        """Take one, and who wrote it.

        Of two under the same fencing token the later wins, unless it is an earlier one of the same session, written
        again. One of an older lease changes nothing.
        """
        known = self._newest.get(checkpoint.shard)
        if known is None or (checkpoint.fencing_token >= known.fencing_token and not _is_behind(checkpoint, known)):
            self._note_end(checkpoint, known)
            self._newest[checkpoint.shard] = checkpoint
            self._writers[checkpoint.shard] = writer
            self._told.add(checkpoint.shard)
            self.highest_token = max(self.highest_token, checkpoint.fencing_token)

    def _note_end(self, checkpoint: Checkpoint, known: Checkpoint | None) -> None:
        """A lease that had a session and has none was told so by Discord; one that begins without has not begun it."""
        if checkpoint.session is not None:
            self._ended.discard(checkpoint.shard)
        elif known is not None and known.session is not None and known.fencing_token == checkpoint.fencing_token:
            self._ended.add(checkpoint.shard)

    def note_loss(self) -> None:
        """Checkpoints may have been missed."""
        self._told.clear()

    def is_told(self, shard: int) -> bool:
        """Whether the shard's newest checkpoint is known, not only an older one."""
        return shard in self._told

    def token_of(self, shard: int) -> int:
        """The token under which the shard's newest checkpoint was written, 0 if none is known."""
        known = self._newest.get(shard)
        return 0 if known is None else known.fencing_token

    def has_ended(self, shard: int) -> bool:
        """Whether Discord ended the shard's session, and it has no new one yet."""
        return shard in self._ended

    def has_session_of_another_count(self, shard_count: int) -> bool:
        """Whether some shard's session is of a fleet with another shard count."""
        sessions = (known.session for known in self._newest.values())
        return any(session is not None and session.shard_count != shard_count for session in sessions)

    def records(self, shards: Iterable[int]) -> Iterator[Checkpoints]:
        """What is known of the sessions of `shards`, to be written again, as its writers wrote it."""
        by_writer: dict[str, list[Checkpoint]] = {}
        for shard in shards:
            if (known := self._newest.get(shard)) is not None and known.session is not None:
                by_writer.setdefault(self._writers[shard], []).append(known)
        for writer, known_of in by_writer.items():
            for first in range(0, len(known_of), RECORD_SIZE):
                yield Checkpoints(worker_id=writer, checkpoints=tuple(known_of[first : first + RECORD_SIZE]))

    def session_for(self, record: ShardRecord) -> Session | None:
        """The session that the next holder of a free shard resumes.

        The checkpoint of the shard's last lease, or what its holder or its coordinator told if that lease has none.
        """
        told = record.session
        checkpoint = self._newest.get(record.shard)
        if checkpoint is None or checkpoint.fencing_token < record.fencing_token:
            return told
        session = checkpoint.session
        if session and told and session.session_id == told.session_id and told.seq > session.seq:
            return told  # a renewal or a release may be a moment ahead of the stream
        return session


def _is_behind(checkpoint: Checkpoint, known: Checkpoint) -> bool:
    now, before = checkpoint.session, known.session
    if now is None or before is None or checkpoint.fencing_token != known.fencing_token:
        return False
    return now.session_id == before.session_id and now.seq < before.seq
