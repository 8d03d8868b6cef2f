"""Bodies of gateway commands, as Discord documents them."""

from __future__ import annotations

import datetime
from typing import Any

import hikari
import pytest

from consumers import payloads
from gateway_sim import payload_rules

GUILD = hikari.Snowflake(123456789012345678)
AT = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)


def presence(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {"idle_since": None, "afk": False, "activity": None, "status": hikari.Status.ONLINE}
    return payloads.presence(**{**values, **changes})


def members(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "include_presences": hikari.UNDEFINED,
        "query": "",
        "limit": 0,
        "users": hikari.UNDEFINED,
        "nonce": hikari.UNDEFINED,
    }
    return payloads.guild_members(GUILD, **{**values, **changes})


def test_a_presence_is_one_that_discord_accepts() -> None:
    d = presence(
        idle_since=AT,
        afk=True,
        activity=hikari.Activity(name="chess", type=hikari.ActivityType.COMPETING),
        status=hikari.Status.IDLE,
    )
    payload_rules.check_presence(d)
    assert d == {
        "since": 1767312000000,
        "afk": True,
        "status": "idle",
        "activities": [{"name": "chess", "state": None, "type": 5, "url": None}],
    }


def test_offline_is_sent_as_invisible_because_discord_ignores_it() -> None:
    assert presence(status=hikari.Status.OFFLINE)["status"] == "invisible"


def test_the_name_of_a_custom_status_is_its_text() -> None:
    activity = hikari.Activity(name="thinking", type=hikari.ActivityType.CUSTOM)
    assert presence(activity=activity)["activities"][0]["state"] == "thinking"


def test_leaving_a_voice_channel_sends_null() -> None:
    d = payloads.voice_state(GUILD, None, self_mute=hikari.UNDEFINED, self_deaf=True)
    assert d == {"guild_id": str(GUILD), "channel_id": None, "self_mute": False, "self_deaf": True}


def test_asking_for_all_members_sends_an_empty_query_without_a_limit() -> None:
    assert members() == {"guild_id": str(GUILD), "query": "", "limit": 0}


def test_asking_for_users_sends_no_query() -> None:
    d = members(users=[hikari.Snowflake(5), 6], nonce="n", include_presences=True)
    assert d == {"guild_id": str(GUILD), "user_ids": ["5", "6"], "nonce": "n", "presences": True}


@pytest.mark.parametrize(
    "changes",
    [
        {"users": [1], "query": "a"},
        {"users": [1], "limit": 3},
        {"limit": 101},
        {"limit": -1},
        {"users": list(range(101))},
        {"nonce": "é" * 17},
    ],
)
def test_what_discord_would_refuse_is_refused_here(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        members(**changes)


def test_channel_info_names_its_fields() -> None:
    d = payloads.channel_info(GUILD, [hikari.api.ChannelInfoField.STATUS])
    assert d == {"guild_id": str(GUILD), "fields": ["status"]}


def test_a_presence_has_only_what_was_given() -> None:
    assert payloads.presence(status=hikari.Status.IDLE) == {"status": "idle"}
    assert payloads.presence(idle_since=None, activity=None) == {"since": None, "activities": []}


def test_soundboard_guilds_are_snowflakes_as_text() -> None:
    assert payloads.soundboard_sounds([GUILD, 5]) == {"guild_ids": [str(GUILD), "5"]}
