"""By what an interaction tells whose it is."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.owner_keys import keys_of, modal_key, user_and_message

BUTTON = {"id": "9", "type": 3, "user": {"id": "3"}, "data": {"custom_id": "c"}, "message": {"id": "7"}}
MODAL = {"id": "9", "type": 5, "member": {"user": {"id": "3"}}, "data": {"custom_id": "c"}}


def test_a_component_is_known_by_its_message_and_then_by_what_that_answers() -> None:
    assert keys_of(BUTTON) == (7,)
    for name in ("interaction_metadata", "interaction"):
        assert keys_of(BUTTON | {"message": {"id": "7", name: {"id": "5"}}}) == (7, 5)


def test_a_modal_is_known_by_custom_id_and_user_wherever_it_was_opened() -> None:
    key = modal_key("c", 3)
    assert keys_of(MODAL) == (key,)
    assert keys_of(MODAL | {"message": {"id": "7"}}) == (key,)
    assert keys_of({**MODAL, "member": {"user": {"id": "4"}}}) != (key,)
    assert keys_of({**MODAL, "data": {"custom_id": "d"}}) != (key,)
    assert 0 <= key < 1 << 64


@pytest.mark.parametrize("kind", [1, 2, 4, None, "3"])
def test_any_process_handles_all_other_interactions(kind: Any) -> None:
    assert keys_of(BUTTON | {"type": kind}) == ()


@pytest.mark.parametrize("odd", [None, [], "text", 5, {}, {"type": 3}, {"type": 5}])
def test_odd_payloads_belong_to_nobody(odd: Any) -> None:
    assert keys_of(odd) == ()
    assert user_and_message(odd) == (None, None)


@pytest.mark.parametrize("odd", [None, [], "text", 5, {}, {"id": 7}, {"id": "x"}, {"id": "²"}, {"id": "9" * 30}])
def test_odd_parts_belong_to_nobody(odd: Any) -> None:
    assert keys_of(BUTTON | {"message": odd}) == ()
    assert keys_of({**MODAL, "member": odd}) == ()
    assert keys_of(MODAL | {"data": odd}) == ()


def test_user_and_message_are_found_in_guilds_and_direct_messages() -> None:
    assert user_and_message(BUTTON) == (3, 7)
    assert user_and_message(MODAL) == (3, None)
