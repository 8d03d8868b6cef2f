"""Control messages: what cannot be read is answered by a typed failure, never by silence."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from eventbus import messages
from eventbus.messages import ErrorCode, MalformedMessageError

SESSION = messages.Session(session_id="abc", resume_url="wss://resume", seq=7, shard_count=4)
CONFIG = messages.BotConfig(shard_count=4, intents=513, gateway_url="wss://gateway", max_concurrency=1)
HELD = messages.HeldLease(shard=3, fencing_token=9, session=SESSION, state="connected", latency_s=0.1)

REQUESTS = [
    messages.Register(worker_id="w", shards="0-3", capacity=2, held=(HELD,)),
    messages.Renew(worker_id="w", held=(HELD,)),
    messages.Release(worker_id="w", shard=3, fencing_token=9, session=SESSION),
    messages.Leave(worker_id="w"),
    messages.IdentifyRequest(worker_id="w", shard=3, fencing_token=9, recovery=True),
    messages.ConfigRequest(),
    messages.StateRequest(),
]
REPLIES = [
    messages.Leases(
        leases=(messages.Lease(shard=3, fencing_token=9, session=SESSION),),
        config=CONFIG,
        renew_interval_s=2.0,
        lease_duration_s=10.0,
    ),
    messages.Done(),
    messages.IdentifyPermit(granted=True, valid_s=0.5),
    messages.ConfigReply(config=CONFIG),
    messages.Failure(code=ErrorCode.STALE_LEASE, message="stale", retry_after_s=1.0),
]
INBOX = [
    messages.Poke(),
    messages.RollCall(coordinator_id="c"),
    messages.GatewayCommand(shard=3, op=8, d={"guild_id": "1"}),
]
ALL = [
    *((messages.coordinator_request, message) for message in REQUESTS),
    *((messages.coordinator_reply, message) for message in REPLIES),
    *((messages.inbox_message, message) for message in INBOX),
    (messages.command_reply, messages.CommandSent(shard=3)),
]


def refusal(adapter: TypeAdapter[Any], body: object) -> messages.Failure:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    with pytest.raises(MalformedMessageError) as caught:
        messages.decode(adapter, raw)
    assert str(caught.value) == caught.value.failure.message
    return caught.value.failure


@pytest.mark.parametrize(("adapter", "message"), ALL)
def test_every_message_survives_the_wire(adapter: TypeAdapter[Any], message: messages.Message) -> None:
    assert messages.decode(adapter, messages.encode(message)) == message


@pytest.mark.parametrize(("adapter", "message"), ALL)
def test_every_body_carries_the_version(adapter: TypeAdapter[Any], message: messages.Message) -> None:
    body = orjson.loads(messages.encode(message))
    assert body["v"] == messages.VERSION
    assert refusal(adapter, {**body, "v": 2}).code is ErrorCode.UNKNOWN_VERSION


@pytest.mark.parametrize(("adapter", "message"), ALL)
def test_an_unknown_field_is_refused_by_its_name(adapter: TypeAdapter[Any], message: messages.Message) -> None:
    body = orjson.loads(messages.encode(message))
    failure = refusal(adapter, {**body, "surprise": 1})
    assert failure.code is ErrorCode.BAD_REQUEST
    assert "surprise" in failure.message


@pytest.mark.parametrize("version", [0, 2, "1", 1.5, None, [1], {"major": 1}])
def test_another_version_is_named_in_the_answer(version: object) -> None:
    failure = refusal(messages.coordinator_request, {"v": version, "kind": "config", "new_field": 1})
    assert failure.code is ErrorCode.UNKNOWN_VERSION
    assert "send v=1" in failure.message


def test_an_unknown_kind_is_refused() -> None:
    failure = refusal(messages.coordinator_request, {"v": 1, "kind": "self_destruct"})
    assert failure.code is ErrorCode.BAD_REQUEST
    assert "self_destruct" in failure.message


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"null", b"[]", b"1", b'"renew"', b"{}", b"[{}]", b"NaN"])
def test_a_body_that_is_no_message_is_refused(body: bytes) -> None:
    assert refusal(messages.coordinator_request, body).code is ErrorCode.BAD_REQUEST


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("worker_id", ""),
        ("worker_id", "a.b"),
        ("worker_id", "x" * 65),
        ("worker_id", None),
        ("shard", -1),
        ("shard", 100_000),
        ("shard", "three"),
        ("shard", None),
        ("fencing_token", -1),
        ("fencing_token", 2**63),
        ("session", {"session_id": "", "resume_url": "", "seq": 1, "shard_count": 1}),
        ("session", {"session_id": "a", "resume_url": "", "seq": -1, "shard_count": 1}),
        ("session", {"session_id": "a", "resume_url": "", "seq": 1, "shard_count": 0}),
        ("session", {"session_id": "a", "resume_url": "", "seq": 1, "shard_count": 1, "extra": 1}),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    body = orjson.loads(messages.encode(REQUESTS[2]))
    failure = refusal(messages.coordinator_request, {**body, field: value})
    assert failure.code is ErrorCode.BAD_REQUEST
    assert field in failure.message


@pytest.mark.parametrize("op", [0, 1, 2, 6, 7, 9, 10, 11, 99])
def test_a_command_cannot_identify_resume_or_beat(op: int) -> None:
    assert "op" in refusal(messages.inbox_message, {"v": 1, "kind": "command", "shard": 0, "op": op, "d": {}}).message


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(
    index=st.integers(0, len(REQUESTS) - 1),
    changes=st.dictionaries(st.sampled_from(["v", "kind", "worker_id", "shard", "held", "session", "x"]), json_values),
)
def test_any_body_is_read_or_refused_with_a_sentence(index: int, changes: dict[str, object]) -> None:
    body = orjson.loads(messages.encode(REQUESTS[index])) | changes
    try:
        message = messages.decode(messages.coordinator_request, orjson.dumps(body))
    except MalformedMessageError as error:
        failure = error.failure
    else:
        assert messages.decode(messages.coordinator_request, messages.encode(message)) == message
        return
    assert failure.code in (ErrorCode.BAD_REQUEST, ErrorCode.UNKNOWN_VERSION)
    assert failure.message
