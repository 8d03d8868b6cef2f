"""Publishes that the broker has not confirmed yet: in order, within a bound.

Entries leave at the head only, when they and all before them are confirmed. So a shard's confirmed seq is always the
highest one below which everything is confirmed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class ConfirmedSeq:
    """How far one lease's dispatches are confirmed; `added` is the newest one in the outbox or behind it."""

    __slots__ = ("added", "confirmed", "is_dropped")

    def __init__(self, seq: int) -> None:
        self.added = seq
        self.confirmed = seq
        self.is_dropped = False

    @property
    def is_drained(self) -> bool:
        """Whether all that was added is confirmed."""
        return self.confirmed == self.added


class Outbox:
    """The window of one publishing connection; delivery tags count up from 1 on every connection.

    `as_repeated(publish)` gives what is written instead when a publish has to be written again.
    """

    def __init__(self, *, max_count: int, max_bytes: int, as_repeated: Callable[[bytes], bytes] = bytes) -> None:
        self._as_repeated = as_repeated
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._unsent: deque[tuple[ConfirmedSeq, int, bytes]] = deque()
        self._sent: deque[tuple[ConfirmedSeq, int, bytes]] = deque()
        self._head_tag = 1
        self._confirmed_tags: set[int] = set()
        self.byte_count = 0

    def __len__(self) -> int:
        return len(self._unsent) + len(self._sent)

    @property
    def is_full(self) -> bool:
        """Whether readers must wait."""
        return self.byte_count >= self._max_bytes or len(self) >= self._max_count

    @property
    def has_unsent(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._unsent)

    def add(self, mark: ConfirmedSeq, seq: int, publish: bytes) -> None:
        """Append a rendered publish of dispatch `seq`."""
        mark.added = max(mark.added, seq)
        self.byte_count += len(publish)
        self._unsent.append((mark, seq, publish))

    def take(self, limit: int) -> list[bytes]:
        """Up to `limit` publishes to write now, in order."""
        chunks: list[bytes] = []
        while self._unsent and len(chunks) < limit:
            entry = self._unsent.popleft()
            self._sent.append(entry)
            chunks.append(entry[2])
        return chunks

    def on_ack(self, tag: int, *, multiple: bool) -> None:
        """The broker confirmed `tag`, or all up to it. A tag that is not in flight changes nothing."""
        if tag >= self._head_tag + len(self._sent):
            return
        if multiple:
            self._confirmed_tags.difference_update(range(self._head_tag, tag + 1))
            while self._head_tag <= tag:
                self._pop_head()
        elif tag >= self._head_tag:
            self._confirmed_tags.add(tag)
        while self._head_tag in self._confirmed_tags:
            self._confirmed_tags.remove(self._head_tag)
            self._pop_head()

    def _pop_head(self) -> None:
        mark, seq, publish = self._sent.popleft()
        self._head_tag += 1
        self.byte_count -= len(publish)
        mark.confirmed = max(mark.confirmed, seq)

    def rewind(self) -> None:
        """The connection is gone: everything unconfirmed is to be sent again, in order, on a new one.

        But nothing of a lease that was lost meanwhile: its new holder publishes that.
        """
        for entry in reversed(self._sent):
            if entry[0].is_dropped:
                self.byte_count -= len(entry[2])
            else:
                mark, seq, publish = entry
                self._unsent.appendleft((mark, seq, self._as_repeated(publish)))  # the broker may have it already
        self._sent.clear()
        self._confirmed_tags.clear()
        self._head_tag = 1

    def refuse(self, is_refused: Callable[[bytes], bool]) -> int:
        """Forget the unsent publishes that the broker will never take, and say how many they were."""
        entries, self._unsent = self._unsent, deque()
        for mark, seq, publish in entries:
            if is_refused(publish):
                self.byte_count -= len(publish)
                self.skip(mark, seq)
            else:
                self._unsent.append((mark, seq, publish))
        return len(entries) - len(self._unsent)

    def skip(self, mark: ConfirmedSeq, seq: int) -> None:
        """Dispatch `seq` is not published: it counts as confirmed as soon as all before it is."""
        mark.added = max(mark.added, seq)
        for entries in (self._unsent, self._sent):
            for index in range(len(entries) - 1, -1, -1):
                if entries[index][0] is mark:
                    entries[index] = (mark, max(seq, entries[index][1]), entries[index][2])
                    return
        mark.confirmed = max(mark.confirmed, seq)

    def has_sent(self, mark: ConfirmedSeq) -> bool:
        """Whether something of a lease was written and is not confirmed."""
        return any(entry[0] is mark for entry in self._sent)

    def drop(self, mark: ConfirmedSeq) -> None:
        """Forget what is not sent yet of a lease that was lost."""
        mark.is_dropped = True
        kept = [entry for entry in self._unsent if entry[0] is not mark]
        self.byte_count -= sum(len(entry[2]) for entry in self._unsent) - sum(len(entry[2]) for entry in kept)
        self._unsent = deque(kept)
