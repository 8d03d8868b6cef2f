"""Two sets of commands are equal if Discord would make the same of them, and only then."""

from __future__ import annotations

from typing import Any
from unittest import mock

import hikari
import pytest

from consumers.command_digest import digest_of_made, digest_of_wanted

GREET: dict[str, Any] = {
    "name": "greet",
    "type": 1,
    "description": "d",
    "options": [{"name": "who", "type": 3, "description": "d", "required": True}],
}
QUOTE: dict[str, Any] = {"name": "Quote", "type": 3}


def wanted(*bodies: dict[str, Any], scope: str = "1") -> str:
    return digest_of_wanted(scope, bodies)


def test_the_order_of_commands_does_not_matter() -> None:
    assert wanted(GREET, QUOTE) == wanted(QUOTE, GREET)


def test_an_id_that_a_library_learnt_from_discord_does_not_matter() -> None:
    assert wanted({**GREET, "id": "77"}) == wanted(GREET)


@pytest.mark.parametrize(
    "same",
    [{"nsfw": False}, {"name_localizations": {}}, {"contexts": None}, {"default_member_permissions": None}],
    ids=str,
)
def test_what_means_the_same_as_its_absence_does_not_matter(same: dict[str, Any]) -> None:
    assert wanted({**GREET, **same}) == wanted(GREET)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "greets"},
        {"description": "other"},
        {"nsfw": True},
        {"dm_permission": False},
        {"default_member_permissions": "0"},
        {"options": []},
        {"options": [{**GREET["options"][0], "required": False}]},
        {"options": [{**GREET["options"][0], "min_length": 0}]},
    ],
    ids=str,
)
def test_what_changes_a_command_matters(change: dict[str, Any]) -> None:
    assert wanted({**GREET, **change}) != wanted(GREET)


def test_the_order_of_options_matters() -> None:
    first, second = GREET["options"][0], {**GREET["options"][0], "name": "whom"}
    assert wanted({**GREET, "options": [first, second]}) != wanted({**GREET, "options": [second, first]})


def test_a_guild_is_not_the_same_as_everywhere() -> None:
    assert wanted(GREET, scope="1") != wanted(GREET, scope="1/2")


def command(number: int, version: int) -> hikari.PartialCommand:
    made: hikari.PartialCommand = mock.Mock(spec=hikari.PartialCommand, id=number, version=version)
    return made


def test_what_discord_has_is_told_by_ids_and_versions() -> None:
    both = digest_of_made("1", [command(1, 5), command(2, 6)])
    assert both == digest_of_made("1", [command(2, 6), command(1, 5)])
    assert both != digest_of_made("1", [command(1, 5)])
    assert both != digest_of_made("1", [command(1, 5), command(2, 7)])
    assert both != digest_of_made("1/3", [command(1, 5), command(2, 6)])
