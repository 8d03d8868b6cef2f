"""Intents are read as operators write them, and the coordinator's settings come from the known names."""

from __future__ import annotations

import hikari
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.intents import KNOWN, parse_intents
from coordinator.settings import CoordinatorSettings
from eventbus.errors import ConfigurationError
from eventbus.settings import build


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("513", 513),
        ("0x201", 513),
        ("GUILDS", 1),
        ("guilds|guild_messages", 513),
        (" Guilds | GUILD_messages ", 513),
        ("ALL_UNPRIVILEGED", int(hikari.Intents.ALL_UNPRIVILEGED)),
        ("all", int(hikari.Intents.ALL)),
        ("NONE", 0),
        ("ALL_UNPRIVILEGED|MESSAGE_CONTENT", int(hikari.Intents.ALL_UNPRIVILEGED | hikari.Intents.MESSAGE_CONTENT)),
    ],
)
def test_numbers_and_names_are_read(text: str, expected: int) -> None:
    assert parse_intents(text) == expected


def test_the_names_and_their_values_are_hikaris() -> None:
    assert dict(KNOWN) == {name: int(value) for name, value in hikari.Intents.__members__.items()}


@given(st.lists(st.sampled_from(sorted(hikari.Intents.__members__)), min_size=1, max_size=5))
def test_joined_names_are_the_union(names: list[str]) -> None:
    union = 0
    for name in names:
        union |= int(hikari.Intents.__members__[name])
    assert parse_intents("|".join(names).lower()) == union
    assert parse_intents(str(union)) == union


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("GUILD_MESSAGE", "did you mean GUILD_MESSAGES?"),
        ("", "write a number or names"),
        ("GUILDS|", "is missing"),
        ("GUILDS,DM_MESSAGES", "is no intent"),
        ("-1", "is no intent"),
        ("1e3", "is no intent"),
        ("999999999999", "bits that are no intents"),
        ("9" * 30, "is no intent"),
        ("³", "is no intent"),
    ],
)
def test_what_is_no_intent_is_refused_with_a_hint(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match="intent") as caught:
        parse_intents(text)
    assert hint in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_an_intent_or_a_clear_error(text: str) -> None:
    try:
        value = parse_intents(text)
    except ValueError as error:
        assert "intent" in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert 0 <= value <= int(hikari.Intents.ALL)


def test_the_defaults_leave_the_choice_to_discord() -> None:
    settings = build(CoordinatorSettings, {"token": "a.b.c"})
    assert settings.intents == int(hikari.Intents.ALL_UNPRIVILEGED)
    assert settings.shard_count is None
    assert settings.identify_reserve is None


def test_all_wrong_settings_are_reported_together() -> None:
    wrong = {"token": "a.b.c", "intents": "GUILDZ", "shard_count": "0", "identify_reserve": "-1", "rest_url": "nowhere"}
    with pytest.raises(ConfigurationError) as caught:
        build(CoordinatorSettings, wrong)
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 4
    assert "--intents (GW_INTENTS): 'GUILDZ' is no intent: did you mean GUILDS?" in problems
    assert "--shard-count (GW_SHARD_COUNT)" in problems
    assert "--identify-reserve (GW_IDENTIFY_RESERVE)" in problems
    assert "--rest-url (GW_REST_URL)" in problems
