"""One bad part of a record costs nothing but itself."""

from __future__ import annotations

import orjson
import pytest

from eventbus.messages import Checkpoints
from eventbus.session_records import read_record

GOOD = {"shard": 0, "fencing_token": 7, "session": None}
SESSION = {"session_id": "a", "resume_url": "wss://r", "seq": 1, "shard_count": 4}


def record(*checkpoints: object, **changes: object) -> bytes:
    fields = {"v": 1, "kind": "checkpoints", "worker_id": "a", "checkpoints": checkpoints}
    return orjson.dumps(fields | changes)


def test_a_good_record_is_read_whole() -> None:
    read, refusals = read_record(record(GOOD, GOOD | {"shard": 1, "session": SESSION}))
    assert isinstance(read, Checkpoints)
    assert [one.shard for one in read.checkpoints] == [0, 1]
    assert refusals == ()


@pytest.mark.parametrize(
    "bad",
    [
        GOOD | {"shard": -1},
        GOOD | {"shard": 10**9},
        GOOD | {"fencing_token": -1},
        GOOD | {"fencing_token": 2**64 - 1},
        GOOD | {"session": SESSION | {"seq": -1}},
        GOOD | {"session": SESSION | {"shard_count": 0}},
        GOOD | {"session": SESSION | {"session_id": ""}},
        GOOD | {"session": "a"},
        GOOD | {"colour": "red"},
        {"shard": 3},
        "text",
        None,
    ],
)
def test_a_bad_checkpoint_is_refused_and_the_others_of_its_record_are_taken(bad: object) -> None:
    read, refusals = read_record(record(bad, GOOD))
    assert isinstance(read, Checkpoints)
    assert [one.fencing_token for one in read.checkpoints] == [7]
    assert len(refusals) == 1
    assert "resume from an older checkpoint" in refusals[0].consequence


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b"", "unreadable"),
        (b"\xff", "unreadable"),
        (b"[]", "unreadable"),
        (b"{}", "unreadable"),
        (record(GOOD, v=2), "checkpoints"),
        (record(GOOD, worker_id="a b"), "checkpoints"),
        (record(GOOD, checkpoints=7), "checkpoints"),
        (b'{"v":1,"kind":"grants","term":"t","grants":[{"shard":-1}]}', "grants"),
        (b'{"v":1,"kind":"permit","term":"t","shard":0,"max_concurrency":0}', "permit"),
        (b'{"v":2,"kind":"leading"}', "leading"),
    ],
)
def test_what_cannot_be_read_is_refused_by_kind_with_what_follows(body: bytes, key: str) -> None:
    read, refusals = read_record(body)
    assert read is None
    assert [one.key for one in refusals] == [key]
    assert refusals[0].reason
    assert refusals[0].consequence


@pytest.mark.parametrize("body", [b'{"v":1,"kind":"newer"}', b'{"v":9,"kind":"newer","x":1}'])
def test_an_unknown_kind_is_skipped(body: bytes) -> None:
    assert read_record(body) == (None, ())
