"""When a channel may be closed without RabbitMQ forgetting what was settled on it."""

from __future__ import annotations

import pytest

from eventbus.amqp.held_back import HELD_BACK_FROM, SETTLED_S, HeldBack


def test_a_few_settlements_are_never_held_back() -> None:
    written = HeldBack()
    written.wrote(10.0, HELD_BACK_FROM - 1)
    assert written.wait_s(10.0) == 0.0


def test_after_many_at_once_the_queue_gets_time_from_the_last_one_on() -> None:
    written = HeldBack()
    written.wrote(10.0, HELD_BACK_FROM - 1)
    written.wrote(10.1)
    assert written.wait_s(10.1) == pytest.approx(SETTLED_S)
    assert written.wait_s(10.3) == pytest.approx(SETTLED_S - 0.2)
    assert written.wait_s(11.0) == 0.0


def test_as_many_over_a_longer_time_were_taken_meanwhile() -> None:
    written = HeldBack()
    written.wrote(10.0, HELD_BACK_FROM - 1)
    written.wrote(10.01 + SETTLED_S)
    assert written.wait_s(10.01 + SETTLED_S) == 0.0
