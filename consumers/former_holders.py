"""Which dispatches of a shard's former holder are duplicates of what its successor published.

A fencing token alone tells nothing: a confirmed dispatch of the former holder may be delivered late, and nobody else
publishes it. But a successor publishes every dispatch behind the seq from which it resumed the session: interactions in
order among themselves, and all others in order. So once this process saw one of the same kind at seq n, what a former
holder published between those two seqs is in the group's queue twice.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

SESSION_COUNT = 20_000
"""A session with interactions counts twice."""
HOLDING_COUNT = 16
_UNKNOWN = sys.maxsize
"""A holder that does not say from where it resumed proves nothing."""


@dataclass(slots=True)
class _Holding:
    fencing_token: int
    resumed_from: int
    highest_seq: int


class FormerHolders:
    """The fencing tokens that this process saw in each session of a shard; bounded: what is forgotten is handled."""

    def __init__(self, *, session_count: int = SESSION_COUNT, holding_count: int = HOLDING_COUNT) -> None:
        self._session_count = session_count
        self._holding_count = holding_count
        self._new: dict[tuple[int, str, bool], list[_Holding]] = {}
        self._old: dict[tuple[int, str, bool], list[_Holding]] = {}

    def is_duplicate(
        self,
        *,
        shard: int,
        session_id: str,
        is_interaction: bool,
        fencing_token: int,
        resumed_from: int | None,
        seq: int,
    ) -> bool:
        """Note a dispatch, and say whether a successor of its holder published it again before one that came here."""
        holdings = self._holdings((shard, session_id, is_interaction))
        start = _UNKNOWN if resumed_from is None else resumed_from
        if holdings and holdings[-1].fencing_token == fencing_token:
            newest = holdings[-1]
            newest.highest_seq = max(newest.highest_seq, seq)
            newest.resumed_from = max(newest.resumed_from, start)
            return False
        self._note(holdings, _Holding(fencing_token, start, seq))
        return _is_published_again(holdings, fencing_token, seq)

    def _holdings(self, key: tuple[int, str, bool]) -> list[_Holding]:
        found = self._new.get(key)
        if found is None:
            found = self._new[key] = self._old.pop(key, [])
            if len(self._new) > self._session_count:
                self._old, self._new = self._new, {key: found}
        return found

    def _note(self, holdings: list[_Holding], seen: _Holding) -> None:
        for one in holdings:
            if one.fencing_token == seen.fencing_token:
                one.highest_seq = max(one.highest_seq, seen.highest_seq)
                one.resumed_from = max(one.resumed_from, seen.resumed_from)
                return
        holdings.append(seen)
        holdings.sort(key=lambda one: one.fencing_token)
        del holdings[: -self._holding_count]


def _is_published_again(holdings: list[_Holding], fencing_token: int, seq: int) -> bool:
    highest_seq = -1
    for successor in reversed(holdings):
        if successor.fencing_token <= fencing_token:
            return False
        # A still later holder counts too: it resumed behind what this one had published, or published it itself.
        highest_seq = max(highest_seq, successor.highest_seq)
        if successor.resumed_from < seq <= highest_seq:
            return True
    return False
