"""The outbox against a simple model: order kept, nothing lost, the confirmed seq never ahead of a gap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eventbus.amqp.publish_frames import BULK_CHANNEL, URGENT_CHANNEL
from gateway_workers.outbox import BURST_COUNT, CALM_COUNT, ChannelMark, ConfirmedSeq, Outbox

if TYPE_CHECKING:
    from unittest import TestCase


CHANNELS = (BULK_CHANNEL, URGENT_CHANNEL)


@dataclass(eq=False)
class Entry:
    mark: ConfirmedSeq
    channel: int
    seq: int
    publish: bytes
    tag: int | None = None
    is_acked: bool = False


class OutboxMachine(RuleBasedStateMachine):
    """The model keeps every entry in a list, and works out what the outboxes should say from scratch."""

    @initialize()
    def start(self) -> None:
        self.outboxes = {channel: Outbox() for channel in CHANNELS}
        self.marks = [ConfirmedSeq(0), ConfirmedSeq(100)]
        self.floors = {id(mark): mark.confirmed for mark in self.marks}
        self.entries: dict[int, list[Entry]] = {channel: [] for channel in CHANNELS}
        self.next_tags = dict.fromkeys(CHANNELS, 1)
        self.payload = 0

    @rule(which=st.integers(0, 1), channel=st.sampled_from(CHANNELS), size=st.integers(1, 60), gap=st.integers(1, 3))
    def add(self, which: int, channel: int, size: int, gap: int) -> None:
        mark = self.marks[which]
        self.payload += 1
        publish = f"{self.payload}:".encode().ljust(size, b"x")
        seq = mark.added + gap
        self.outboxes[channel].add(mark.on(channel), seq, publish)
        self.entries[channel].append(Entry(mark, channel, seq, publish))
        assert mark.added == seq

    @rule(channel=st.sampled_from(CHANNELS), limit=st.integers(0, 5))
    def take(self, channel: int, limit: int) -> None:
        unsent = [entry for entry in self.entries[channel] if entry.tag is None][:limit]
        assert self.outboxes[channel].take(limit) == [entry.publish for entry in unsent]
        for entry in unsent:
            entry.tag = self.next_tags[channel]
            self.next_tags[channel] += 1

    @rule(channel=st.sampled_from(CHANNELS), tag=st.integers(1, 30), multiple=st.booleans())
    def ack(self, channel: int, tag: int, multiple: bool) -> None:
        self.outboxes[channel].on_ack(tag, multiple=multiple)
        entries = self.entries[channel]
        if tag < self.next_tags[channel]:
            for entry in entries:
                if entry.tag is not None and (entry.tag == tag or (multiple and entry.tag < tag)):
                    entry.is_acked = True
        while entries and entries[0].is_acked:
            del entries[0]

    @rule(channel=st.sampled_from(CHANNELS))
    def ack_the_newest_first(self, channel: int) -> None:
        tags = [entry.tag for entry in self.entries[channel] if entry.tag is not None]
        if tags:
            self.ack(channel, max(tags), multiple=False)

    @rule()
    def rewind(self) -> None:
        for channel, outbox in self.outboxes.items():
            outbox.rewind()
            self.next_tags[channel] = 1
            self.entries[channel] = [one for one in self.entries[channel] if not one.mark.on(channel).is_dropped]
            for entry in self.entries[channel]:
                entry.tag, entry.is_acked = None, False

    @rule(which=st.integers(0, 1))
    def drop(self, which: int) -> None:
        mark = self.marks[which]
        for channel, outbox in self.outboxes.items():
            outbox.drop(mark.on(channel))
            kept = [one for one in self.entries[channel] if one.tag is not None or one.mark is not mark]
            self.entries[channel] = kept
        confirmed, added = mark.confirmed, mark.added
        mark.close()
        assert mark.confirmed == confirmed
        self.marks[which] = ConfirmedSeq(added)
        self.floors[id(self.marks[which])] = added

    @invariant()
    def the_sizes_are_those_of_what_is_unconfirmed(self) -> None:
        for channel, outbox in self.outboxes.items():
            entries = self.entries[channel]
            assert len(outbox) == len(entries)
            assert outbox.byte_count == sum(len(entry.publish) for entry in entries)
            assert outbox.has_unsent == any(entry.tag is None for entry in entries)

    @invariant()
    def nothing_up_to_the_confirmed_seq_is_unconfirmed_and_it_only_grows(self) -> None:
        for mark in self.marks:
            waiting = [one for entries in self.entries.values() for one in entries if one.mark is mark]
            assert all(one.seq > mark.confirmed for one in waiting)
            assert mark.is_drained == (not waiting)
            assert mark.confirmed <= mark.added
            assert mark.confirmed >= self.floors[id(mark)]
            self.floors[id(mark)] = mark.confirmed
            if not waiting:
                assert mark.confirmed == mark.added


OutboxMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)
TestOutbox: type[TestCase] = OutboxMachine.TestCase


def test_what_was_written_for_a_lost_lease_is_not_written_again() -> None:
    outbox = Outbox()
    lost, kept = ChannelMark(BULK_CHANNEL, 0), ChannelMark(BULK_CHANNEL, 0)
    outbox.add(lost, 1, b"lost")
    outbox.add(kept, 1, b"kept")
    outbox.take(10)
    outbox.drop(lost)
    outbox.rewind()
    assert outbox.take(10) == [b"kept"]
    assert outbox.byte_count == 4


def test_an_ack_that_is_out_of_order_waits_for_those_before_it() -> None:
    outbox, mark = Outbox(), ChannelMark(BULK_CHANNEL, 0)
    for seq in (1, 2, 3):
        outbox.add(mark, seq, b"x")
    outbox.take(3)
    outbox.on_ack(3, multiple=False)
    outbox.on_ack(2, multiple=False)
    assert (mark.confirmed, len(outbox)) == (0, 3)
    outbox.on_ack(1, multiple=False)
    assert (mark.confirmed, len(outbox)) == (3, 0)


def test_what_is_written_again_is_marked_and_what_was_never_written_is_not() -> None:
    outbox, mark = Outbox(as_repeated=bytes.upper), ChannelMark(BULK_CHANNEL, 0)
    outbox.add(mark, 1, b"first")
    outbox.take(1)
    outbox.add(mark, 2, b"second")

    outbox.rewind()

    assert outbox.take(10) == [b"FIRST", b"second"]


def test_what_a_lease_has_on_its_way_is_known_until_it_is_confirmed() -> None:
    outbox, mark = Outbox(), ChannelMark(BULK_CHANNEL, 0)
    outbox.add(mark, 1, b"x")
    assert not outbox.has_sent(mark)
    outbox.take(1)
    assert outbox.has_sent(mark)
    outbox.on_ack(1, multiple=False)
    assert not outbox.has_sent(mark)


def test_what_is_refused_counts_as_confirmed_when_all_before_it_is() -> None:
    outbox, mark, other = Outbox(), ChannelMark(BULK_CHANNEL, 0), ChannelMark(BULK_CHANNEL, 0)
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
    outbox, mark = Outbox(), ChannelMark(BULK_CHANNEL, 0)
    outbox.add(mark, 1, b"x")
    outbox.take(1)
    outbox.skip(mark, 2)
    assert (mark.confirmed, mark.added) == (0, 2)
    outbox.on_ack(1, multiple=False)
    assert mark.confirmed == 2
    outbox.skip(mark, 3)
    assert (mark.confirmed, mark.added) == (3, 3)


def on_their_way(*channels: int) -> tuple[ConfirmedSeq, dict[int, Outbox]]:
    """Dispatches 1, 2 and so on, each written on its channel."""
    mark, outboxes = ConfirmedSeq(0), {channel: Outbox() for channel in CHANNELS}
    for seq, channel in enumerate(channels, 1):
        outboxes[channel].add(mark.on(channel), seq, b"x")
        outboxes[channel].take(1)
    return mark, outboxes


def test_an_ack_raises_the_confirmed_seq_up_to_what_the_other_channel_has_on_its_way() -> None:
    mark, outboxes = on_their_way(BULK_CHANNEL, BULK_CHANNEL, URGENT_CHANNEL, BULK_CHANNEL)
    outboxes[BULK_CHANNEL].on_ack(1, multiple=False)
    assert mark.confirmed == 1
    outboxes[BULK_CHANNEL].on_ack(3, multiple=True)
    assert mark.confirmed == 2  # 3 is on its way
    outboxes[URGENT_CHANNEL].on_ack(1, multiple=False)
    assert mark.confirmed == 4


def test_an_urgent_one_that_is_confirmed_first_confirms_nothing_before_it() -> None:
    mark, outboxes = on_their_way(BULK_CHANNEL, URGENT_CHANNEL)
    outboxes[URGENT_CHANNEL].on_ack(1, multiple=False)
    assert mark.confirmed == 0
    outboxes[BULK_CHANNEL].on_ack(1, multiple=False)
    assert mark.confirmed == 2


def test_what_was_on_its_way_when_a_lease_was_lost_confirms_nothing_more() -> None:
    mark = ConfirmedSeq(0)
    outbox = Outbox()
    for seq in (1, 2):
        outbox.add(mark.on(BULK_CHANNEL), seq, b"x")
    outbox.take(2)
    outbox.on_ack(1, multiple=False)
    outbox.drop(mark.on(BULK_CHANNEL))
    mark.close()
    outbox.on_ack(2, multiple=False)
    assert (mark.confirmed, mark.added) == (1, 1)


def test_a_paced_outbox_writes_no_more_than_a_burst_until_little_is_on_its_way() -> None:
    outbox, mark = Outbox(is_paced=True), ChannelMark(BULK_CHANNEL, 0)
    for seq in range(1, 1001):
        outbox.add(mark, seq, b"x")
    assert [len(outbox.take(150)) for _ in range(3)] == [150, BURST_COUNT - 150, 0]
    outbox.on_ack(BURST_COUNT - CALM_COUNT, multiple=True)  # RabbitMQ still grants nothing
    assert outbox.take(150) == []
    outbox.on_ack(BURST_COUNT - CALM_COUNT + 1, multiple=True)
    assert len(outbox.take(1000)) == BURST_COUNT
    outbox.rewind()
    assert len(outbox.take(1000)) == BURST_COUNT
