"""Whoever gets a delivery leads, and learns before it grants."""

from __future__ import annotations

from coordinator.leadership import LEARN_AFTER_LOSS_S, LEARN_S, Leadership, Phase


def connected(now: float = 0.0, *, times: int = 1) -> Leadership:
    leadership = Leadership()
    for _ in range(times):
        leadership.on_connected(now)
    return leadership


def begin(leadership: Leadership, now: float) -> None:
    assert leadership.on_delivery()
    assert leadership.on_caught_up(now)


def test_the_first_delivery_begins_to_lead_and_only_the_first() -> None:
    leadership = connected()
    assert leadership.on_delivery()
    assert not leadership.on_delivery()
    assert leadership.phase is Phase.CATCHING_UP
    assert not leadership.knows_the_stream


def test_it_learns_from_the_workers_after_it_has_caught_up_and_not_before() -> None:
    leadership = connected()
    leadership.on_delivery()
    assert not leadership.try_to_lead(100.0, is_every_shard_held=True)
    assert leadership.on_caught_up(200.0)
    assert leadership.knows_the_stream
    assert not leadership.try_to_lead(200.0 + LEARN_S - 0.1, is_every_shard_held=True)
    assert leadership.try_to_lead(200.0 + LEARN_S, is_every_shard_held=True)


def test_a_connection_that_is_lost_while_it_catches_up_makes_it_a_stand_by() -> None:
    leadership = connected()
    leadership.on_delivery()
    leadership.on_connected(1.0)
    assert not leadership.on_caught_up(1.1)
    assert not leadership.knows_the_stream
    begin(leadership, 2.0)


def test_one_that_steps_back_begins_anew_by_the_next_delivery() -> None:
    leadership = connected()
    begin(leadership, 1.0)
    leadership.step_back()
    assert not leadership.is_leading
    begin(leadership, 5.0)


def test_without_a_delivery_it_stays_a_stand_by() -> None:
    leadership = connected()
    assert not leadership.try_to_lead(100.0, is_every_shard_held=False)
    assert leadership.phase is Phase.STAND_BY


def test_it_learns_for_a_second_even_if_nobody_answers() -> None:
    leadership = connected()
    begin(leadership, 1.0)
    assert not leadership.try_to_lead(1.0 + LEARN_S - 0.1, is_every_shard_held=False)
    assert leadership.try_to_lead(1.0 + LEARN_S, is_every_shard_held=False)
    assert leadership.is_leading


def test_after_a_loss_of_the_broker_holders_get_the_time_to_come_back() -> None:
    leadership = connected(times=2)
    begin(leadership, 1.0)
    assert not leadership.try_to_lead(1.0 + LEARN_AFTER_LOSS_S - 0.1, is_every_shard_held=False)
    assert leadership.try_to_lead(1.0 + LEARN_AFTER_LOSS_S, is_every_shard_held=False)


def test_after_a_loss_of_the_broker_it_does_not_wait_when_every_shard_has_its_holder() -> None:
    leadership = connected(times=2)
    begin(leadership, 1.0)
    assert not leadership.try_to_lead(1.0 + LEARN_S - 0.1, is_every_shard_held=True)
    assert leadership.try_to_lead(1.0 + LEARN_S, is_every_shard_held=True)


def test_a_new_connection_makes_it_a_stand_by_again() -> None:
    leadership = connected()
    begin(leadership, 1.0)
    leadership.on_connected(5.0)
    assert not leadership.is_leading
    begin(leadership, 6.0)


def test_only_the_process_that_leads_right_after_its_first_connect_can_be_the_first() -> None:
    at_once, later, again = connected(), connected(), connected(times=2)
    begin(at_once, 0.5)
    begin(later, 60.0)
    begin(again, 0.5)
    assert [one.began_at_once for one in (at_once, later, again)] == [True, False, False]
