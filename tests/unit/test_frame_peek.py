"""The head of a frame: never wrong, whatever the order of its keys and whatever users write into it."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_workers.frame_peek import FrameHead, MalformedFrameError, peek

HOSTILE = [
    '"t":"FAKE","s":666,"op":0,"d":',
    '{"t":"FAKE","s":666,"op":0,"d":{}}',
    '\\","op":9,"t":"FAKE"',
    "\u0000\u2028\U0001f600",
    '}},"s":1,"t":"X"}',
    "t",
    "op",
]
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=30))
content = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(texts, st.sampled_from("tsopd")), inner, max_size=4)
    ),
    max_leaves=12,
)
event_types = st.one_of(
    st.sampled_from(["READY", "MESSAGE_CREATE", "GUILD_CREATE", "A", "NEW_2", "odd type", "lower", ""]), texts
)


@st.composite
def frames(draw: st.DrawFn) -> tuple[dict[str, Any], bytes]:
    payload: dict[str, Any] = {
        "t": draw(st.none() | event_types),
        "s": draw(st.none() | st.integers(0, 2**63 - 1)),
        "op": draw(st.integers(0, 999)),
        "d": draw(content),
    }
    for key in draw(st.lists(st.sampled_from(["_trace", "new", "T", "tt"]), unique=True, max_size=2)):
        payload[key] = draw(content)
    shuffled = {key: payload[key] for key in draw(st.permutations(list(payload)))}
    indent = orjson.OPT_INDENT_2 if draw(st.booleans()) else 0
    return shuffled, orjson.dumps(shuffled, option=indent)


@given(frames())
def test_the_head_is_what_a_full_parse_gives(frame: tuple[dict[str, Any], bytes]) -> None:
    payload, raw = frame
    head = peek(raw)
    assert (head.op, head.type, head.seq) == (payload["op"], payload["t"], payload["s"])


@given(data=content, seq=st.integers(0, 10**18 - 1), op=st.integers(0, 99))
def test_todays_order_of_keys_is_read_without_a_parse(data: object, seq: int, op: int) -> None:
    raw = orjson.dumps({"t": "MESSAGE_CREATE", "s": seq, "op": op, "d": data})
    assert peek(raw) == FrameHead(op, "MESSAGE_CREATE", seq, was_parsed=False)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_content_in_front_of_the_head_changes_nothing(hostile: str) -> None:
    raw = orjson.dumps({"d": {"content": hostile}, "t": "MESSAGE_CREATE", "s": 5, "op": 0})
    assert peek(raw) == FrameHead(0, "MESSAGE_CREATE", 5, was_parsed=True)


def test_a_head_behind_white_space_is_read_and_counted_as_parsed() -> None:
    assert peek(b' {"t":"READY","s":1,"op":0,"d":{}}') == FrameHead(0, "READY", 1, was_parsed=True)


def test_a_control_frame_has_neither_type_nor_seq() -> None:
    assert peek(b'{"t":null,"s":null,"op":11,"d":null}') == FrameHead(11, None, None)
    assert peek(b'{"op":11}') == FrameHead(11, None, None, was_parsed=True)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{",
        b"{}",
        b'{"t":"A","s":',
        b'{"t":"A","s":1,"d":{}}',
        b'{"op":"0","t":"A","s":1,"d":{}}',
        b'{"op":true,"t":null,"s":null,"d":{}}',
        b'{"op":0.5,"t":"A","s":1}',
        b'{"op":0,"t":5,"s":1,"d":{}}',
        b'{"op":0,"t":"A","s":"1","d":{}}',
        b'{"op":0,"t":"A","s":1.5,"d":{}}',
        b'{"op":0,"t":"A","s":false,"d":{}}',
        b"\xff\xfe",
        b'{"t":"\xff","s":1,"op":0,"d":{}}',
    ],
)
def test_a_frame_that_is_no_payload_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedFrameError):
        peek(raw)


@given(st.binary(max_size=80))
def test_any_bytes_give_a_head_or_a_clear_refusal(raw: bytes) -> None:
    with contextlib.suppress(MalformedFrameError):
        assert isinstance(peek(raw).op, int)
