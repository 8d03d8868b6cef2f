"""The newest checkpoint of every shard, as the session stream tells it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordinator.lease_records import ShardRecord
    from eventbus.messages import Checkpoint, Session


class CheckpointBook:
    """Takes checkpoints in the order of the stream."""

    def __init__(self) -> None:
        self._newest: dict[int, Checkpoint] = {}
        self.highest_token = 0

    def learn(self, checkpoint: Checkpoint) -> None:
        """Take one; of two under the same fencing token the later wins, one of an older lease changes nothing."""
        known = self._newest.get(checkpoint.shard)
        if known is None or checkpoint.fencing_token >= known.fencing_token:
            self._newest[checkpoint.shard] = checkpoint
            self.highest_token = max(self.highest_token, checkpoint.fencing_token)

    def token_of(self, shard: int) -> int:
        """The token under which the shard's newest checkpoint was written, 0 if none is known."""
        known = self._newest.get(shard)
        return 0 if known is None else known.fencing_token

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
