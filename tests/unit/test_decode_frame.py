"""Reading a delivery: what is accepted, and that everything else gets a reason."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.errors import MalformedDispatchError
from consumers.frame import Frame, decode

HEADERS = {"shard": 3, "shard_count": 16, "fencing_token": 7, "replayed": True, "received_at": 1234.5}


def read(body: bytes, **changes: Any) -> Frame:
    given: dict[str, Any] = {
        "event_type": "MESSAGE_CREATE",
        "message_id": "abc:42",
        "headers": HEADERS,
        "redelivered": False,
    }
    return decode(body, **{**given, **changes})


def body(**changes: Any) -> bytes:
    return orjson.dumps({"t": "MESSAGE_CREATE", "s": 42, "op": 0, "d": {"id": "1"}, **changes})


def test_a_frame_is_read_with_all_that_its_properties_say() -> None:
    frame = read(body(), redelivered=True)
    assert frame.payload == {"id": "1"}
    dispatch = frame.dispatch
    assert (dispatch.shard, dispatch.shard_count, dispatch.fencing_token) == (3, 16, 7)
    assert (dispatch.session_id, dispatch.seq, dispatch.message_id) == ("abc", 42, "abc:42")
    assert (dispatch.replayed, dispatch.redelivered, dispatch.received_at) == (True, True, 1234.5)
    assert dispatch.type == "MESSAGE_CREATE"


def test_the_order_of_keys_does_not_matter() -> None:
    assert read(b'{"d":{"t":"READY"},"op":0,"s":42,"t":"MESSAGE_CREATE"}').dispatch.type == "MESSAGE_CREATE"


def test_a_session_id_may_hold_colons() -> None:
    dispatch = read(body(), message_id="a:b:7").dispatch
    assert (dispatch.session_id, dispatch.seq) == ("a:b", 7)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"3", "not a JSON object"),
        (body(op=1), "no dispatch"),
        (body(t=None), "no dispatch"),
        (body(t=5), "no dispatch"),
        (body(t="READY"), "message's type"),
    ],
)
def test_a_wrong_body_gets_a_reason(content: bytes, reason: str) -> None:
    with pytest.raises(MalformedDispatchError, match=reason):
        read(content)


@pytest.mark.parametrize("message_id", [None, "", "abc", "abc:", ":5", "abc:x", "abc:-1", "abc:²"])
def test_a_wrong_message_id_gets_a_reason(message_id: str | None) -> None:
    with pytest.raises(MalformedDispatchError, match="message_id"):
        read(body(), message_id=message_id)


@pytest.mark.parametrize("name", ["shard", "shard_count", "fencing_token", "received_at"])
@pytest.mark.parametrize("value", [None, "1", True, [1]])
def test_a_wrong_header_gets_a_reason(name: str, value: object) -> None:
    with pytest.raises(MalformedDispatchError, match=name):
        read(body(), headers={**HEADERS, name: value})


@given(st.binary(max_size=200))
def test_no_body_raises_anything_else(content: bytes) -> None:
    with pytest.raises(MalformedDispatchError):
        read(content)
