"""When a consumer process is started again, and when its supervisor gives up."""

from __future__ import annotations

from consumers.restart_policy import (
    FIRST_BACKOFF_S,
    HEALTHY_AFTER_S,
    MAX_BACKOFF_S,
    MAX_CRASHES,
    MAX_FAILED_STARTS,
    RestartPolicy,
)
from eventbus.amqp.group_queues import DELIVERY_LIMIT


def test_the_wait_doubles_up_to_its_cap() -> None:
    policy = RestartPolicy()
    waits = [policy.after_end(lived_s=1, was_ready=True) for _ in range(10)]
    assert waits[:4] == [FIRST_BACKOFF_S, FIRST_BACKOFF_S * 2, FIRST_BACKOFF_S * 4, FIRST_BACKOFF_S * 8]
    assert waits[-1] == MAX_BACKOFF_S


def test_it_gives_up_when_the_start_itself_keeps_failing() -> None:
    policy = RestartPolicy()
    waits = [policy.after_end(lived_s=1, was_ready=False) for _ in range(MAX_FAILED_STARTS)]
    assert None not in waits[:-1]
    assert waits[-1] is None


def test_a_dispatch_that_kills_consumers_becomes_a_dead_letter_before_it_gives_up() -> None:
    policy = RestartPolicy()
    waits = [policy.after_end(lived_s=1, was_ready=True) for _ in range(DELIVERY_LIMIT + 1)]
    assert None not in waits


def test_crashes_without_end_end_it() -> None:
    policy = RestartPolicy()
    waits = [policy.after_end(lived_s=1, was_ready=True) for _ in range(MAX_CRASHES)]
    assert waits[-1] is None


def test_a_healthy_life_forgets_what_was() -> None:
    policy = RestartPolicy()
    for _ in range(MAX_CRASHES - 1):
        policy.after_end(lived_s=1, was_ready=True)
    assert policy.after_end(lived_s=HEALTHY_AFTER_S, was_ready=True) == FIRST_BACKOFF_S
