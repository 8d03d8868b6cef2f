"""Names on the broker: documented, apart from each other, and nothing but names in them."""

from __future__ import annotations

import pytest

from eventbus.names import EVENT_TYPE_PATTERN, Names, is_name


def test_every_name_is_the_documented_one() -> None:
    names = Names("gw")
    assert names.event("MESSAGE_CREATE") == "gw.event.MESSAGE_CREATE"
    assert names.group("bot") == "gw.group.bot"
    assert names.group("bot", "interactions") == "gw.group.bot.interactions"
    assert names.dead("bot") == "gw.dead.bot"
    assert names.commands("bot") == "gw.commands.bot"
    assert names.commands("bot", "0f") == "gw.commands.bot.0f"
    assert names.command_turn("bot") == "gw.commands.bot.turn"
    assert names.work("bot", "daily") == "gw.work.bot.daily"
    assert names.partition("bot", 3) == "gw.group.bot.partition-3"
    assert names.partition_owner("bot", 3) == "gw.group.bot.partition-3.owner"
    assert names.partitions("bot", 16) == "gw.partitions.bot.16"
    assert names.unplaced("bot") == "gw.partitions.bot.unplaced"
    assert names.layout("bot") == "gw.group.bot.layout"
    assert names.pool("bot") == "gw.pool.bot"
    assert names.worker("w1") == "gw.worker.w1"
    assert names.inbox("w1") == "gw.inbox.w1"
    assert (names.coordinator, names.shard, names.holder, names.control) == (
        "gw.coordinator",
        "gw.shard",
        "gw.holder",
        "gw.control",
    )


def test_two_namespaces_share_no_name() -> None:
    one, other = Names("a"), Names("b")
    assert one.event("X") != other.event("X")
    assert one.coordinator != other.coordinator


@pytest.mark.parametrize("text", ["a", "gw", "A-b_9", "x" * 64])
def test_letters_digits_and_dashes_make_a_name(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize("text", ["", "a.b", "a b", "#", "*", "x" * 65, "ä", "a\n", "a/b"])
def test_what_would_be_a_pattern_or_another_name_is_none(text: str) -> None:
    assert not is_name(text)


@pytest.mark.parametrize("text", ["", "message", "A B", "A.B", "#", "1A", "A" * 65, "READY\n"])
def test_an_event_type_that_could_be_another_exchange_is_none(text: str) -> None:
    assert EVENT_TYPE_PATTERN.fullmatch(text) is None


@pytest.mark.parametrize("text", ["READY", "GUILD_CREATE", "A2", "A" * 64])
def test_discords_event_types_are_event_types(text: str) -> None:
    assert EVENT_TYPE_PATTERN.fullmatch(text) is not None
