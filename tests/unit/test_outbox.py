"""The outbox against a simple model: order kept, nothing lost, the confirmed seq never ahead of a gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway_workers.outbox import ConfirmedSeq, Outbox

if TYPE_CHECKING:
    from unittest import TestCase

MAX_COUNT = 8
MAX_BYTES = 200


@dataclass(eq=False)
class Entry:
    mark: ConfirmedSeq
    seq: int
    publish: bytes
    tag: int | None = None
    is_acked: bool = False


class OutboxMachine(RuleBasedStateMachine):
    """The model keeps every entry in a list, and works out what the outbox should say from scratch."""

    @initialize()
    def start(self) -> None:
        self.outbox = Outbox(max_count=MAX_COUNT, max_bytes=MAX_BYTES)
        self.marks = [ConfirmedSeq(0), ConfirmedSeq(100)]
        self.starts = {id(mark): mark.confirmed for mark in self.marks}
        self.entries: list[Entry] = []
        self.confirmed: list[Entry] = []
        self.next_tag = 1
        self.payload = 0

    @rule(which=st.integers(0, 1), size=st.integers(1, 60), gap=st.integers(1, 3))
    def add(self, which: int, size: int, gap: int) -> None:
        mark = self.marks[which]
        if mark.is_dropped:
            return
        self.payload += 1
        publish = f"{self.payload}:".encode().ljust(size, b"x")
        seq = mark.added + gap
        self.outbox.add(mark, seq, publish)
        self.entries.append(Entry(mark, seq, publish))
        assert mark.added == seq

    @rule(limit=st.integers(0, 5))
    def take(self, limit: int) -> None:
        unsent = [entry for entry in self.entries if entry.tag is None][:limit]
        assert self.outbox.take(limit) == [entry.publish for entry in unsent]
        for entry in unsent:
            entry.tag = self.next_tag
            self.next_tag += 1

    @rule(tag=st.integers(1, 30), multiple=st.booleans())
    def ack(self, tag: int, multiple: bool) -> None:
        self.outbox.on_ack(tag, multiple=multiple)
        if tag < self.next_tag:
            for entry in self.entries:
                if entry.tag is not None and (entry.tag == tag or (multiple and entry.tag < tag)):
                    entry.is_acked = True
        while self.entries and self.entries[0].is_acked:
            self.confirmed.append(self.entries.pop(0))

    @precondition(lambda self: any(entry.tag is not None for entry in self.entries))
    @rule()
    def ack_the_newest_first(self) -> None:
        self.ack(max(entry.tag for entry in self.entries if entry.tag is not None), multiple=False)

    @rule()
    def rewind(self) -> None:
        self.outbox.rewind()
        self.entries = [entry for entry in self.entries if not entry.mark.is_dropped]
        self.next_tag = 1
        for entry in self.entries:
            entry.tag, entry.is_acked = None, False

    @rule(which=st.integers(0, 1))
    def drop(self, which: int) -> None:
        mark = self.marks[which]
        self.outbox.drop(mark)
        self.entries = [entry for entry in self.entries if entry.tag is not None or entry.mark is not mark]
        self.marks[which] = ConfirmedSeq(mark.added)
        self.starts[id(self.marks[which])] = mark.added

    @invariant()
    def the_sizes_are_those_of_what_is_unconfirmed(self) -> None:
        assert len(self.outbox) == len(self.entries)
        assert self.outbox.byte_count == sum(len(entry.publish) for entry in self.entries)
        assert self.outbox.has_unsent == any(entry.tag is None for entry in self.entries)
        too_much = len(self.entries) >= MAX_COUNT or self.outbox.byte_count >= MAX_BYTES
        assert self.outbox.is_full == too_much

    @invariant()
    def the_confirmed_seq_is_the_highest_below_which_all_is_confirmed(self) -> None:
        for mark in self.marks:
            mine = [entry.seq for entry in self.confirmed if entry.mark is mark]
            assert mark.confirmed == max(mine, default=self.starts[id(mark)])
            assert all(entry.seq > mark.confirmed for entry in self.entries if entry.mark is mark)


OutboxMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestOutbox: type[TestCase] = OutboxMachine.TestCase


def test_what_was_written_for_a_lost_lease_is_not_written_again() -> None:
    outbox = Outbox(max_count=10, max_bytes=1000)
    lost, kept = ConfirmedSeq(0), ConfirmedSeq(0)
    outbox.add(lost, 1, b"lost")
    outbox.add(kept, 1, b"kept")
    outbox.take(10)
    outbox.drop(lost)
    outbox.rewind()
    assert outbox.take(10) == [b"kept"]
    assert outbox.byte_count == 4


def test_an_ack_that_is_out_of_order_waits_for_those_before_it() -> None:
    outbox, mark = Outbox(max_count=10, max_bytes=1000), ConfirmedSeq(0)
    for seq in (1, 2, 3):
        outbox.add(mark, seq, b"x")
    outbox.take(3)
    outbox.on_ack(3, multiple=False)
    outbox.on_ack(2, multiple=False)
    assert (mark.confirmed, len(outbox)) == (0, 3)
    outbox.on_ack(1, multiple=False)
    assert (mark.confirmed, len(outbox)) == (3, 0)


def test_what_is_written_again_is_marked_and_what_was_never_written_is_not() -> None:
    outbox, mark = Outbox(max_count=10, max_bytes=1000, as_repeated=bytes.upper), ConfirmedSeq(0)
    outbox.add(mark, 1, b"first")
    outbox.take(1)
    outbox.add(mark, 2, b"second")

    outbox.rewind()

    assert outbox.take(10) == [b"FIRST", b"second"]


def test_what_a_lease_has_on_its_way_is_known_until_it_is_confirmed() -> None:
    outbox, mark = Outbox(max_count=10, max_bytes=1000), ConfirmedSeq(0)
    outbox.add(mark, 1, b"x")
    assert not outbox.has_sent(mark)
    outbox.take(1)
    assert outbox.has_sent(mark)
    outbox.on_ack(1, multiple=False)
    assert not outbox.has_sent(mark)


def test_what_is_refused_counts_as_confirmed_when_all_before_it_is() -> None:
    outbox, mark, other = Outbox(max_count=10, max_bytes=1000), ConfirmedSeq(0), ConfirmedSeq(0)
    outbox.add(mark, 1, b"small")
    outbox.add(other, 7, b"huge")
    outbox.add(mark, 2, b"huge")
    outbox.add(mark, 3, b"huge")

    assert outbox.refuse(lambda publish: publish == b"huge") == 3

    assert (other.confirmed, mark.confirmed, mark.added) == (7, 0, 3)
    assert (len(outbox), outbox.byte_count) == (1, 5)
    assert outbox.take(10) == [b"small"]
    outbox.on_ack(1, multiple=False)
    assert mark.confirmed == 3


def test_a_skipped_dispatch_waits_for_those_before_it_on_their_way_too() -> None:
    outbox, mark = Outbox(max_count=10, max_bytes=1000), ConfirmedSeq(0)
    outbox.add(mark, 1, b"x")
    outbox.take(1)
    outbox.skip(mark, 2)
    assert (mark.confirmed, mark.added) == (0, 2)
    outbox.on_ack(1, multiple=False)
    assert mark.confirmed == 2
    outbox.skip(mark, 3)
    assert (mark.confirmed, mark.added) == (3, 3)
