"""Heartbeats: when they are due, and when a missing ACK proves that a connection is dead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_workers.heart import BRIEF_S, READ_ENOUGH_S, Heart


def beating(now: float = 100.0) -> Heart:
    return Heart(interval_s=40.0, jitter=0.5, now=now)


def test_the_first_beat_is_due_after_the_jittered_interval() -> None:
    assert beating().next_beat_at == 120.0
    assert Heart(interval_s=40.0, jitter=0.0, now=100.0).next_beat_at == 100.0


def test_each_further_beat_is_due_an_interval_after_the_last() -> None:
    heart = beating()
    heart.on_beat(121.0)
    assert heart.next_beat_at == 161.0


def test_before_the_first_beat_there_is_no_zombie() -> None:
    assert not beating().is_zombie(119.0)


def test_a_beat_without_ack_makes_a_zombie_and_an_ack_heals_it() -> None:
    heart = beating()
    heart.on_beat(120.0)
    assert heart.is_zombie(160.0)
    heart.on_ack(120.2)
    assert not heart.is_zombie(160.0)
    assert heart.latency_s == pytest.approx(0.2)


def test_a_beat_proves_nothing_while_nothing_is_read_and_shortly_after() -> None:
    heart = beating()
    heart.on_reading_paused(110.0)
    heart.on_beat(120.0)
    assert not heart.is_zombie(160.0)
    heart.on_reading_resumed(158.0)
    assert not heart.is_zombie(160.0)


def test_a_beat_that_waits_for_its_ack_when_reading_stops_proves_nothing_until_it_goes_on() -> None:
    heart = beating()
    heart.on_beat(120.0)
    heart.on_reading_paused(120.0)
    heart.on_reading_resumed(156.0)
    assert not heart.is_zombie(160.0)
    assert heart.is_zombie(161.5)


def test_short_pauses_excuse_no_missing_ack() -> None:
    heart = beating()
    heart.on_beat(120.0)
    for at in (121.0, 158.0, 159.0):
        heart.on_reading_paused(at)
        heart.on_reading_resumed(at + 0.1)
    assert heart.is_zombie(160.0)


def test_the_first_beat_after_reading_resumed_counts_again() -> None:
    heart = beating()
    heart.on_beat(120.0)
    heart.on_reading_paused(121.0)
    heart.on_beat(160.0)
    heart.on_reading_resumed(199.0)
    heart.on_beat(200.0)
    assert heart.is_zombie(200.1)


def test_an_ack_that_waited_unread_tells_no_latency() -> None:
    heart = beating()
    heart.on_beat(120.0)
    heart.on_reading_paused(121.0)
    heart.on_reading_resumed(149.0)
    heart.on_ack(150.0)
    assert heart.latency_s is None


def test_an_ack_that_nobody_asked_for_tells_no_latency() -> None:
    heart = beating()
    heart.on_ack(110.0)
    assert heart.latency_s is None
    heart.on_beat(120.0)
    heart.on_ack(120.1)
    heart.on_ack(130.0)
    assert heart.latency_s == pytest.approx(0.1)


@given(st.lists(st.sampled_from(["beat", "ack", "pause", "resume"]), max_size=40))
def test_a_zombie_is_a_beat_without_ack_that_was_read_for_long_enough(events: list[str]) -> None:
    """Whatever happens in steps of a second: unread seconds since the beat are counted here one by one."""
    heart, now = beating(0.0), 0.0
    waiting = paused = False
    unread_s, resumed_at = 0.0, 0.0
    for event in events:
        now += 1.0
        unread_s += paused
        if event == "beat":
            heart.on_beat(now)
            waiting, unread_s = True, 0.0
        elif event == "ack":
            heart.on_ack(now)
            waiting = False
        elif event == "pause" and not paused:
            heart.on_reading_paused(now)
            paused = True
        elif event == "resume" and paused:
            heart.on_reading_resumed(now)
            paused, resumed_at = False, now
        was_read = unread_s <= BRIEF_S or now - resumed_at >= READ_ENOUGH_S
        assert heart.is_zombie(now) == (waiting and not paused and was_read)
