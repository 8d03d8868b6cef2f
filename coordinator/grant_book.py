"""The newest grant of every shard, as the session stream tells it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventbus.messages import Grant


class GrantBook:
    """Takes grants in the order of the stream.

    A grant is written only after the shard's older holder had released it or could publish no more: whatever has a
    lower fencing token can never be right again.
    """

    def __init__(self) -> None:
        self._newest: dict[int, Grant] = {}
        self._told: set[int] = set()
        self.highest_token = 0

    def learn(self, grant: Grant) -> None:
        """Take one; one that is older than what is known of its shard changes nothing."""
        self.highest_token = max(self.highest_token, grant.fencing_token)
        self._told.add(grant.shard)
        if grant.fencing_token > self.token_of(grant.shard):
            self._newest[grant.shard] = grant

    def note_loss(self) -> None:
        """Grants may have been missed."""
        self._told.clear()

    def is_told(self, shard: int) -> bool:
        """Whether the shard's newest grant is known, not only an older one."""
        return shard in self._told

    def token_of(self, shard: int) -> int:
        """The shard's newest granted token, 0 if none is known."""
        known = self._newest.get(shard)
        return 0 if known is None else known.fencing_token

    def grantee_of(self, shard: int, fencing_token: int) -> str | None:
        """The worker to whom the shard was granted under this token, if that is its newest known grant."""
        known = self._newest.get(shard)
        return known.worker_id if known is not None and known.fencing_token == fencing_token else None
