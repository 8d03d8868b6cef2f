"""What a process says is its own, as hikari's own REST methods are called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hikari
import pytest

from consumers.claims import Claims
from consumers.dispatch import Dispatch
from consumers.frame import Frame
from consumers.owner_keys import modal_key

if TYPE_CHECKING:
    from collections.abc import Iterable


@pytest.fixture
def claimed() -> list[int]:
    return []


@pytest.fixture
def claims(claimed: list[int]) -> Claims:
    def claim(keys: Iterable[int]) -> None:
        claimed.extend(keys)

    return Claims(claim)


def frame(payload: Any, event_type: str = "INTERACTION_CREATE") -> Frame:
    dispatch = Dispatch(0, 1, "s", 1, event_type, "s:1", 1, replayed=False, redelivered=False, received_at=0.0)
    return Frame(dispatch, payload)


def test_a_message_that_was_sent_is_its_senders(claims: Claims, claimed: list[int]) -> None:
    claims.sent(hikari.Snowflake(7))
    assert claimed == [7]


def test_a_response_is_known_by_its_interaction_before_its_message_has_an_id(
    claims: Claims, claimed: list[int]
) -> None:
    claims.answering(hikari.Snowflake(9), hikari.ResponseType.MESSAGE_CREATE)
    assert claimed == [9]


def test_an_update_takes_over_the_message_that_was_clicked(claims: Claims, claimed: list[int]) -> None:
    claims.note(frame({"id": "9", "type": 3, "user": {"id": "3"}, "message": {"id": "7"}}))
    claims.answering(hikari.Snowflake(9), hikari.ResponseType.MESSAGE_UPDATE)
    claims.answering(hikari.Snowflake(8), hikari.ResponseType.MESSAGE_UPDATE)  # handled elsewhere
    assert claimed == [7]


def test_a_modal_belongs_to_who_opened_it_for_that_user(claims: Claims, claimed: list[int]) -> None:
    claims.note(frame({"id": "9", "type": 2, "member": {"user": {"id": "3"}}}))
    claims.opening_modal(hikari.Snowflake(9), "c")
    claims.opening_modal(hikari.Snowflake(8), "c")  # handled elsewhere: the user is not known
    assert claimed == [modal_key("c", 3)]


@pytest.mark.parametrize("odd", [None, [], {}, {"id": 9}, {"id": "x"}])
def test_odd_interactions_are_not_noted(claims: Claims, claimed: list[int], odd: object) -> None:
    claims.note(frame(odd))
    claims.note(frame({"id": "9", "user": {"id": "3"}}, "MESSAGE_CREATE"))
    claims.opening_modal(hikari.Snowflake(9), "c")
    assert claimed == []


def test_old_interactions_are_forgotten(claims: Claims, claimed: list[int]) -> None:
    for number in range(20_000):
        claims.note(frame({"id": str(number), "type": 2, "user": {"id": "3"}}))
    claims.opening_modal(hikari.Snowflake(0), "c")
    assert claimed == []
    claims.opening_modal(hikari.Snowflake(19_999), "c")
    assert claimed == [modal_key("c", 3)]
