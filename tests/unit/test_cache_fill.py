"""Which fills count: those of whose guild nothing was said between what they rest on and their own place."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from consumers.cache_changes import GuildChanges
from consumers.cache_fill import (
    CHECK_EVERY_S,
    GUILD_FILL,
    SPAN,
    Filled,
    FillJudge,
    due_in_s,
    fill_body,
    fill_headers,
    frames_of,
    guild_and_since,
)
from consumers.cache_fill_watch import FetchState, FillWatch
from consumers.cache_records import GuildRecord, pack, unpack
from consumers.errors import MalformedDispatchError
from gateway_sim.world import World

WORLD = World(bot_token="t", guild_count=8, large_guilds=0)
GUILD, OTHER = WORLD.guild_ids[3], WORLD.guild_ids[4]
CREATE = WORLD.guild(GUILD)
OWN_ID = 9
READY_HEADERS = {"shard": (GUILD >> 22) % 2, "shard_count": 2}
READY = {"guilds": [{"id": str(GUILD)}]}


def channel(name: str, **fields: Any) -> dict[str, Any]:
    return {**CREATE["channels"][1], "guild_id": str(GUILD), "name": name, **fields}


def body(payload: Any) -> bytes:
    return orjson.dumps({"d": payload})


def filled_at(judge: FillJudge, offset: int, since: int, guild_id: int = GUILD, *, is_there: bool = False) -> bool:
    frames = judge.frames(
        offset, fill_headers(guild_id, since), fill_body([("GUILD_CREATE", CREATE)]), has_guild=lambda _: is_there
    )
    return bool(list(frames))


def test_a_fill_counts_when_nothing_was_said_of_its_guild_since() -> None:
    judge = FillJudge()
    judge.hear(4, "CHANNEL_UPDATE", {}, channel("before"))
    judge.hear(5, "CHANNEL_UPDATE", {}, {**channel("x"), "guild_id": str(OTHER)})
    judge.hear(6, "READY", {**READY_HEADERS, "shard": 1 - READY_HEADERS["shard"]}, READY)
    assert filled_at(judge, 7, since=5)


@pytest.mark.parametrize("event_type", ["CHANNEL_UPDATE", "READY"])
def test_a_fill_does_not_count_after_a_dispatch_that_it_does_not_know(event_type: str) -> None:
    judge = FillJudge()
    judge.hear(5, event_type, READY_HEADERS, READY if event_type == "READY" else channel("new"))
    assert not filled_at(judge, 7, since=5)
    assert filled_at(judge, 9, since=8)


def test_a_fill_brings_no_guild_that_is_there_and_takes_away_none_that_is_not() -> None:
    assert not filled_at(FillJudge(), 7, since=5, is_there=True)
    gone = {"headers": fill_headers(GUILD, 5), "body": b""}
    assert not list(FillJudge().frames(7, **gone, has_guild=lambda _: False))
    assert list(FillJudge().frames(7, **gone, has_guild=lambda _: True)) == [("GUILD_DELETE", {"id": str(GUILD)})]


def test_a_fill_that_came_late_or_from_another_stream_does_not_count() -> None:
    assert filled_at(FillJudge(), SPAN, since=0)
    assert not filled_at(FillJudge(), SPAN + 1, since=0)
    assert not filled_at(FillJudge(), 3, since=500)


def test_the_judge_forgets_what_is_beyond_the_span() -> None:
    judge = FillJudge(span=10)
    for offset in range(1000):
        judge.said(offset, offset)
        judge.identified(offset, 0, 1)
    assert len(judge) <= 24


@pytest.mark.parametrize("headers", [{}, {"guild": 5, "since": 1}, {"guild": "5"}, {"guild": "x", "since": 1}])
def test_a_fill_without_its_headers_is_refused(headers: dict[str, Any]) -> None:
    with pytest.raises(MalformedDispatchError):
        guild_and_since(headers)


@pytest.mark.parametrize("content", [{}, {"frames": 1}, {"frames": [["GUILD_CREATE"]]}, {"frames": [[1, {}]]}])
def test_a_fill_with_a_body_of_another_shape_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(MalformedDispatchError):
        list(frames_of(pack(content)))


def test_a_check_is_due_when_there_was_none_or_entries_were_lost_or_it_is_old() -> None:
    filled = Filled(at=1000.0, upto=50)
    state: dict[str, Any] = {"now": 1600.0, "wanted_since": 0.0, "next_offset": 60}
    assert due_in_s(filled, **state) == CHECK_EVERY_S - 600
    assert due_in_s(None, **state) == 0
    assert due_in_s(filled, **{**state, "wanted_since": 1200.0}) == 0
    assert due_in_s(filled, **{**state, "next_offset": 49}) == 0  # a stream that began anew
    assert due_in_s(filled, **{**state, "now": 1000 + CHECK_EVERY_S + 1}) == 0


def fetched(*, changes: tuple[tuple[str, Any], ...] = ()) -> tuple[FillWatch, Any]:
    """A guild that REST has answered, and of which something was said meanwhile."""
    watch = FillWatch(own_id=OWN_ID)
    guild = watch.begin(GUILD)
    for offset, (event_type, payload) in enumerate(changes):
        watch.hear(offset, event_type, READY_HEADERS, "", body(payload))
    guild.answer(CREATE)
    return watch, guild


def sent(guild: Any, message_id: str, since: int) -> dict[str, Any]:
    record = guild.send(message_id, since)
    return dict(record.frames(heavy=()))["GUILD_CREATE"]


def test_what_came_while_a_guild_was_fetched_is_in_its_fill() -> None:
    deleted = CREATE["channels"][2]
    _, guild = fetched(changes=(("CHANNEL_UPDATE", channel("new")), ("CHANNEL_DELETE", channel("", id=deleted["id"]))))
    names = [one["name"] for one in sent(guild, "m", 2)["channels"]]
    assert "new" in names
    assert deleted["name"] not in names


def test_a_fill_is_written_again_with_what_came_before_its_place() -> None:
    watch, guild = fetched()
    sent(guild, "first", 5)
    watch.hear(5, "CHANNEL_UPDATE", {}, "", body(channel("between")))
    watch.hear(6, GUILD_FILL, fill_headers(GUILD, 5), "first", b"x")
    assert guild.state is FetchState.OPEN
    assert "between" in [one["name"] for one in sent(guild, "second", 7)["channels"]]
    watch.hear(7, GUILD_FILL, fill_headers(GUILD, 7), "second", b"x")
    assert guild.state is FetchState.FILLED


def test_another_ones_fill_between_is_no_success() -> None:
    watch, guild = fetched()
    sent(guild, "own", 5)
    watch.hear(5, GUILD_FILL, fill_headers(GUILD, 5), "another's", b"x")
    watch.hear(6, GUILD_FILL, fill_headers(GUILD, 5), "own", b"x")
    assert guild.state is FetchState.OPEN


@pytest.mark.parametrize(
    ("event_type", "payload"), [("GUILD_CREATE", CREATE), ("GUILD_DELETE", {"id": str(GUILD)}), ("READY", READY)]
)
def test_a_guild_that_comes_or_goes_or_whose_shard_identifies_is_left_alone(event_type: str, payload: Any) -> None:
    _, guild = fetched(changes=((event_type, payload),))
    assert guild.state is FetchState.ANSWERED


def test_what_cannot_be_read_and_what_is_not_watched_say_nothing() -> None:
    watch, guild = fetched(changes=(("CHANNEL_UPDATE", {**channel("x"), "guild_id": str(OTHER)}),))
    watch.hear(3, "CHANNEL_UPDATE", {}, "", b"{")
    watch.hear(4, GUILD_FILL, {}, "", b"")
    watch.hear(5, "READY", {}, "", body(READY))
    assert guild.state is FetchState.OPEN
    watch.end(GUILD)
    watch.hear(6, "GUILD_CREATE", {}, "", body(CREATE))
    assert guild.state is FetchState.OPEN


# Generations


def fill(since: int) -> tuple[str, dict[str, Any], bytes]:
    frames = GuildRecord(CREATE).frames(heavy=())
    return GUILD_FILL, fill_headers(GUILD, since), fill_body(frames)


def gone(since: int) -> tuple[str, dict[str, Any], bytes]:
    return GUILD_FILL, fill_headers(GUILD, since), b""


def applied(*entries: tuple[str, dict[str, Any], bytes], noted: int = 0, bodies: Any = ()) -> list[str] | None:
    """Channels of the guild after a slice; the first `noted` entries stand before it. None: it is not there."""
    changes = GuildChanges(own_id=OWN_ID, heavy=())
    for offset, entry in enumerate(entries):
        (changes.note if offset < noted else changes.take)(offset, *entry)
    for event_type, packed in changes.applied(GUILD, list(bodies)):
        if event_type == "GUILD_CREATE":
            return [one["name"] for one in unpack(packed)["channels"]]
    return None


def said(name: str) -> tuple[str, dict[str, Any], bytes]:
    return "CHANNEL_UPDATE", {}, body(channel(name))


def test_a_generation_takes_a_fill_and_what_comes_behind_it() -> None:
    found = applied(said("lost"), fill(1), said("behind"))
    assert found is not None
    assert "behind" in found
    assert "lost" not in found


def test_a_generation_takes_no_fill_that_does_not_count_even_if_the_reason_stands_before_its_slice() -> None:
    assert applied(said("between"), fill(0)) is None
    assert applied(said("between"), fill(0), noted=1) is None
    assert applied(("READY", READY_HEADERS, body(READY)), fill(0), noted=1) is None
    assert applied(said("before"), fill(1), noted=1) is not None


def test_a_generation_keeps_a_guild_that_a_fill_comes_too_late_for_and_drops_one_that_was_left() -> None:
    there = [("GUILD_CREATE", pack({**CREATE, "channels": [channel("own")]}))]
    assert applied(fill(0), bodies=there) == ["own"]
    assert applied(gone(0), bodies=there) is None
    assert applied(said("between"), gone(0), bodies=there) is not None
    assert applied(gone(0)) is None
