"""A dead letter: what its headers say, where it may go, what it takes along."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from eventbus.dead_letter import DeadLetter, origin_problem, retry_headers
from eventbus.names import Names

DEATH = {"queue": "gw.group.main", "reason": "delivery_limit", "count": 1, "time": datetime.fromtimestamp(50, UTC)}


def letter(**headers: Any) -> DeadLetter:
    return DeadLetter("s:1", "MESSAGE_CREATE", headers, {}, b"{}")


def test_the_consumers_headers_say_why_and_where() -> None:
    found = letter(reason="no JSON", origin="gw.group.main", attempts=2, shard=3, received_at=90.5)

    assert (found.reason, found.origin, found.attempts, found.shard) == ("no JSON", "gw.group.main", 2, 3)
    assert found.age_s(100.0) == 9.5


def test_a_letter_that_rabbitmq_moved_says_so_by_x_death() -> None:
    found = letter(**{"x-death": [DEATH, {**DEATH, "queue": "elsewhere"}], "received_at": 10})

    assert (found.origin, found.attempts) == ("gw.group.main", None)
    assert found.reason == "RabbitMQ moved it here: delivery_limit"
    assert found.age_s(60.0) == 10.0


@pytest.mark.parametrize("odd", [[], "x", [1], [{}], None])
def test_odd_headers_are_no_headers(odd: object) -> None:
    found = letter(**{"x-death": odd, "shard": "0", "attempts": True, "received_at": "now", "retried": "many"})

    assert (found.origin, found.shard, found.attempts, found.age_s(1.0), found.retried) == (None, None, None, None, 0)
    assert found.reason == "no reason given"


@pytest.mark.parametrize("origin", ["gw.group.main", "gw.group.main.interactions"])
def test_queues_of_the_group_get_their_letters_back(origin: str) -> None:
    assert origin_problem(letter(origin=origin), Names("gw"), "main") is None


@pytest.mark.parametrize(
    "origin",
    ["gw.group.other", "gw.group.main2", "gw.group.main.", "gw.group.main.a.b", "gw.coordinator", "gw.dead.main", ""],
)
def test_no_other_queue_gets_letters(origin: str) -> None:
    assert "is no queue of group 'main'" in str(origin_problem(letter(origin=origin), Names("gw"), "main"))


def test_a_letter_without_origin_goes_nowhere() -> None:
    assert origin_problem(letter(), Names("gw"), "main") == "it does not say which queue it came from"


def test_what_is_sent_again_keeps_the_dispatchs_headers_and_counts() -> None:
    dead = {"reason": "r", "origin": "o", "attempts": 3, "x-death": [DEATH], "x-first-death-queue": "q"}
    kept = {"shard": 1, "fencing_token": 7, "received_at": 1.25, "mine": "x"}

    assert retry_headers(letter(**dead, **{"x-delivery-count": 4}, **kept)) == {**kept, "retried": 1}
    assert retry_headers(letter(**kept, retried=1)) == {**kept, "retried": 2}
