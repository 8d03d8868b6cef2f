"""Publishes that the broker has not confirmed yet: in order, each publishing channel for itself.

Entries leave at the head only, when they and all before them are confirmed. So a mark's confirmed seq is always the
highest one below which everything on its channel is confirmed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from eventbus.amqp.publish_frames import BULK_CHANNEL, URGENT_CHANNEL

if TYPE_CHECKING:
    from collections.abc import Callable

CALM_COUNT = 32
"""RabbitMQ's `quorum_commands_soft_limit`: a channel with so many unanswered publishes to a queue grants no credit."""
BURST_COUNT = 200
"""What a channel still takes at least without granting any: of 400 it grants 200 anew after each 200
(`credit_flow_default_credit`). The next publish would stop the whole connection, the other channel included."""


class ChannelMark:
    """How far one lease's dispatches on one channel are confirmed; `added` is the newest in the outbox or behind it."""

    __slots__ = ("added", "channel", "confirmed", "is_dropped")

    def __init__(self, channel: int, seq: int) -> None:
        self.channel = channel
        self.added = seq
        self.confirmed = seq
        self.is_dropped = False

    @property
    def is_drained(self) -> bool:
        """Whether all that was added is confirmed."""
        return self.confirmed == self.added

    def add(self, seq: int) -> None:
        """Dispatch `seq` goes this way; with nothing else on its way here, all before it is confirmed."""
        if self.is_drained:
            self.confirmed = max(self.confirmed, seq - 1)
        self.added = max(self.added, seq)


class ConfirmedSeq:
    """How far one lease's dispatches are confirmed, on whichever channel they went; each seq goes one way."""

    __slots__ = ("_ways",)

    def __init__(self, seq: int) -> None:
        self._ways = {channel: ChannelMark(channel, seq) for channel in (BULK_CHANNEL, URGENT_CHANNEL)}

    def on(self, channel: int) -> ChannelMark:
        """The mark of one channel."""
        return self._ways[channel]

    @property
    def ways(self) -> tuple[ChannelMark, ...]:
        """The marks of all channels."""
        return tuple(self._ways.values())

    @property
    def added(self) -> int:
        """The newest dispatch that was added."""
        return max(way.added for way in self.ways)

    @property
    def confirmed(self) -> int:
        """The highest seq up to which everything is confirmed."""
        return min((way.confirmed for way in self.ways if not way.is_drained), default=self.added)

    @property
    def is_drained(self) -> bool:
        """Whether all that was added is confirmed."""
        return all(way.is_drained for way in self.ways)

    def close(self) -> None:
        """Nothing more counts as confirmed: the lease was lost, and what is on its way may come twice."""
        confirmed = self.confirmed
        for way in self.ways:
            way.added = way.confirmed = confirmed


class Outbox:
    """What is on its way over one channel of a connection; delivery tags count up from 1 on every connection.

    `as_repeated(publish)` gives what is written instead when a publish has to be written again. With `is_paced`, no
    more is written than RabbitMQ takes without stopping the connection, however slow a queue is.
    """

    def __init__(self, *, is_paced: bool = False, as_repeated: Callable[[bytes], bytes] = bytes) -> None:
        self._as_repeated = as_repeated
        self._is_paced = is_paced
        self._burst_left = BURST_COUNT
        self._unsent: deque[tuple[ChannelMark, int, bytes]] = deque()
        self._sent: deque[tuple[ChannelMark, int, bytes]] = deque()
        self._head_tag = 1
        self._confirmed_tags: set[int] = set()
        self.byte_count = 0

    def __len__(self) -> int:
        return len(self._unsent) + len(self._sent)

    @property
    def has_unsent(self) -> bool:
        """Whether something waits to be written."""
        return bool(self._unsent)

    def add(self, mark: ChannelMark, seq: int, publish: bytes) -> None:
        """Append a rendered publish of dispatch `seq`."""
        mark.add(seq)
        self.byte_count += len(publish)
        self._unsent.append((mark, seq, publish))

    def take(self, limit: int) -> list[bytes]:
        """Up to `limit` publishes to write now, in order."""
        if self._is_paced:
            if len(self._sent) < CALM_COUNT:
                self._burst_left = BURST_COUNT
            limit = min(limit, self._burst_left)
        chunks: list[bytes] = []
        while self._unsent and len(chunks) < limit:
            entry = self._unsent.popleft()
            self._sent.append(entry)
            chunks.append(entry[2])
        self._burst_left -= len(chunks)
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
        if not mark.is_dropped:
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

    def skip(self, mark: ChannelMark, seq: int) -> None:
        """Dispatch `seq` is not published: it counts as confirmed as soon as all before it is."""
        mark.added = max(mark.added, seq)
        for entries in (self._unsent, self._sent):
            for index in range(len(entries) - 1, -1, -1):
                if entries[index][0] is mark:
                    entries[index] = (mark, max(seq, entries[index][1]), entries[index][2])
                    return
        mark.confirmed = max(mark.confirmed, seq)

    def has_sent(self, mark: ChannelMark) -> bool:
        """Whether something of a lease was written and is not confirmed."""
        return any(entry[0] is mark for entry in self._sent)

    def drop(self, mark: ChannelMark) -> None:
        """Forget what is not sent yet of a lease that was lost."""
        mark.is_dropped = True
        kept = [entry for entry in self._unsent if entry[0] is not mark]
        self.byte_count -= sum(len(entry[2]) for entry in self._unsent) - sum(len(entry[2]) for entry in kept)
        self._unsent = deque(kept)
