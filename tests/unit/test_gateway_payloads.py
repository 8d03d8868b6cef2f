"""What passes our check is never refused by the simulator, whatever a user sends; and a refusal names the field."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus import gateway_payloads
from eventbus.gateway_payloads import InvalidPayloadError, check_command, check_presence_fields, payload
from gateway_sim import gateway_commands, payload_rules

ALL_INTENTS = (1 << 25) - 1
GUILD = str(123 << 22)

odd: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2**65), st.floats(allow_nan=False), st.text(max_size=40),
    st.just(GUILD), st.lists(st.one_of(st.just(GUILD), st.integers(), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.sampled_from(["name", "type", "x"]), st.text(max_size=2), max_size=2),
)  # fmt: skip

good: dict[int, dict[str, Any]] = {
    3: {"since": None, "activities": [{"name": "chess", "type": 0}], "status": "online", "afk": False},
    4: {"guild_id": GUILD, "channel_id": "5", "self_mute": True, "self_deaf": False},
    8: {"guild_id": GUILD, "query": "", "limit": 0, "nonce": "n", "presences": True},
    31: {"guild_ids": [GUILD]},
    43: {"guild_id": GUILD, "fields": ["status"]},
}


def check(op: int, d: Any, *, intents: int = ALL_INTENTS) -> None:
    check_command(op, d, shard=0, shard_count=1, intents=intents)


def simulated(op: int, d: dict[str, Any]) -> None:
    """What gw-sim checks of a command."""
    assert payload_rules.parse_payload(payload(op, d)) == (op, d)
    if op == 3:
        payload_rules.check_presence(d)
    for key in {"guild_id", "channel_id"} & d.keys():
        if d[key] is not None:
            payload_rules.parse_snowflake(d, key)
    if op == 8:
        gateway_commands._check_member_request(d)  # noqa: SLF001 - the oracle
    for guild in d.get("guild_ids", []):
        payload_rules.parse_snowflake({"guild_id": guild}, "guild_id")
    assert op != 43 or isinstance(d["fields"], list)


@pytest.mark.parametrize("op", good)
def test_what_discord_documents_passes(op: int) -> None:
    check(op, good[op])
    simulated(op, good[op])


@given(st.sampled_from(sorted(good)), st.data())
def test_what_passes_is_never_refused_by_discord(op: int, data: st.DataObject) -> None:
    keys = st.sampled_from([*good[op], "user_ids", "x"])
    d = good[op] | data.draw(st.dictionaries(keys, odd, max_size=2))
    for key in data.draw(st.lists(keys, max_size=2)):
        d.pop(key, None)
    with contextlib.suppress(InvalidPayloadError):
        check(op, d)
        simulated(op, d)


@given(st.dictionaries(st.sampled_from(["since", "activities", "status", "afk", "x"]), odd, max_size=3))
def test_fields_of_a_presence_that_pass_make_a_presence_that_discord_takes(d: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidPayloadError):
        check_presence_fields(d)
        check(3, {"since": None, "activities": [], "status": "online", "afk": False} | d)


@pytest.mark.parametrize(
    ("op", "d", "sentence"),
    [
        (4, {"guild_id": GUILD, "channel_id": "5", "volume": 1}, "volume: Extra inputs are not permitted"),
        (4, {"guild_id": "abc", "channel_id": None}, "guild_id: must be a snowflake: digits, below 2**64"),
        (8, {"guild_id": GUILD, "query": "a"}, "d: query needs limit"),
        (8, {"guild_id": GUILD, "query": "a", "limit": 1, "user_ids": ["1"]}, "not both"),
        (31, {"guild_ids": []}, "guild_ids: List should have at least 1 item"),
    ],
)
def test_a_refusal_names_the_field(op: int, d: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidPayloadError) as raised:
        check(op, d)
    assert sentence in str(raised.value)


def test_a_guild_of_another_shard_is_refused() -> None:
    with pytest.raises(InvalidPayloadError, match="is on shard 1, not on shard 0"):
        check_command(31, {"guild_ids": [str(2 << 22), str(3 << 22)]}, shard=0, shard_count=2, intents=0)


@pytest.mark.parametrize("d", [{"query": "", "limit": 0}, {"query": "a", "limit": 1, "presences": True}])
def test_what_needs_an_intent_that_the_fleet_lacks_is_refused(d: dict[str, Any]) -> None:
    check(8, {"guild_id": GUILD} | d)
    with pytest.raises(InvalidPayloadError, match="intent"):
        check(8, {"guild_id": GUILD} | d, intents=1)


def test_4096_bytes_pass_and_4097_do_not() -> None:
    d = {"a": "x" * (4096 - len(orjson.dumps({"op": 4, "d": {"a": ""}})))}
    assert len(payload(4, d)) == 4096
    with pytest.raises(InvalidPayloadError, match="4097 bytes"):
        payload(4, {"a": d["a"] + "x"})


@pytest.mark.parametrize("value", ["\ud800", 2**70, {1: 2}])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(InvalidPayloadError):
        gateway_payloads.encode_payload(3, {"a": value})


def test_a_remembered_presence_fits_into_an_identify() -> None:
    activity = {"name": "x" * 128, "type": 0, "url": "u" * 512}
    with pytest.raises(InvalidPayloadError, match="bytes"):
        check_presence_fields({"activities": [activity] * 6})
    check_presence_fields({"activities": [activity] * 4})
