"""A worker is dead when the broker says that it cannot publish any more, and never because it is late."""

from __future__ import annotations

from coordinator.liveness import GRACE_S, Liveness


def test_a_worker_that_can_publish_lives_however_long_its_inbox_is_gone() -> None:
    liveness = Liveness()
    assert not any(liveness.is_dead("a", can_publish=True, has_inbox=False, now=float(now)) for now in range(1000))


def test_both_connections_gone_is_death_at_once() -> None:
    assert Liveness().is_dead("a", can_publish=False, has_inbox=False, now=1.0)


def test_the_publishing_connection_alone_gets_a_grace() -> None:
    liveness = Liveness()
    assert not liveness.is_dead("a", can_publish=False, has_inbox=True, now=1.0)
    assert not liveness.is_dead("a", can_publish=False, has_inbox=True, now=1.0 + GRACE_S - 0.1)
    assert liveness.is_dead("a", can_publish=False, has_inbox=True, now=1.0 + GRACE_S)


def test_a_connection_that_came_back_starts_a_new_grace() -> None:
    liveness = Liveness()
    liveness.is_dead("a", can_publish=False, has_inbox=True, now=1.0)
    liveness.is_dead("a", can_publish=True, has_inbox=True, now=3.0)
    assert not liveness.is_dead("a", can_publish=False, has_inbox=True, now=1.0 + GRACE_S)


def test_losing_the_inbox_too_ends_the_grace() -> None:
    liveness = Liveness()
    liveness.is_dead("a", can_publish=False, has_inbox=True, now=1.0)
    assert liveness.is_dead("a", can_publish=False, has_inbox=False, now=2.0)


def test_after_our_own_loss_of_the_broker_everyone_gets_the_grace_until_seen_again() -> None:
    liveness = Liveness()
    liveness.doubt(["a"])
    assert not liveness.is_dead("a", can_publish=False, has_inbox=False, now=1.0)
    assert liveness.is_dead("a", can_publish=False, has_inbox=False, now=1.0 + GRACE_S)
    liveness.doubt(["a"])
    assert not liveness.is_dead("a", can_publish=True, has_inbox=True, now=20.0)
    assert liveness.is_dead("a", can_publish=False, has_inbox=False, now=21.0)
