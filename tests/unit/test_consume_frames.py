"""What a consumer's connection reads of the broker's bytes, however the network cuts them: the same as pamqp wrote."""

from __future__ import annotations

import asyncio
import itertools
import string
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import body, commands, frame, header

from eventbus.amqp.broker import Broker
from eventbus.amqp.consume_connection import FIRST_CONSUME_CHANNEL, ConsumeConnection
from eventbus.amqp.raw_message import RawMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from eventbus.amqp.consume_connection import Tagged

CHANNEL = FIRST_CONSUME_CHANNEL
FRAME_BODY = 100
_WORDS = st.text(string.ascii_letters + "äß-:", max_size=40)
_VALUES = st.booleans() | st.integers(-(2**31), 2**31 - 1) | _WORDS | st.none()
_TABLES = st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=20), _VALUES, max_size=5)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": _WORDS,
        "content_encoding": _WORDS,
        "headers": _TABLES,
        "delivery_mode": st.sampled_from([1, 2]),
        "priority": st.integers(0, 255),
        "correlation_id": _WORDS,
        "reply_to": _WORDS,
        "expiration": _WORDS,
        "message_id": _WORDS,
        "timestamp": st.integers(0, 4_000_000_000).map(lambda at: datetime.fromtimestamp(at, UTC)),
        "message_type": _WORDS,
        "user_id": _WORDS,
        "app_id": _WORDS,
    },
)


def content_header(properties: dict[str, Any], size: int) -> header.ContentHeader:
    return header.ContentHeader(body_size=size, properties=commands.Basic.Properties(**properties))


def delivery(tag: int, content: bytes, properties: dict[str, Any], *, redelivered: bool) -> bytes:
    """The frames of one delivery, its body in pieces."""
    deliver = commands.Basic.Deliver("c" * (1 + tag % 7), tag, redelivered, "an exchange", "a key")
    parts = [content[start : start + FRAME_BODY] for start in range(0, len(content), FRAME_BODY)]
    frames: list[Any] = [deliver, content_header(properties, len(content)), *map(body.ContentBody, parts)]
    return b"".join(frame.marshal(one, CHANNEL) for one in frames)


@given(properties=PROPERTIES)
def test_properties_and_headers_are_those_that_pamqp_wrote(properties: dict[str, Any]) -> None:
    marshalled = content_header(properties, 3).marshal()

    message = RawMessage(marshalled, b"abc", redelivered=True)

    written = header.ContentHeader()
    written.unmarshal(marshalled)
    for ours, theirs in (("type", "message_type"), *((name, name) for name in ("content_type", "message_id"))):
        assert getattr(message, ours) == getattr(written.properties, theirs)
    assert message.correlation_id == written.properties.correlation_id
    assert message.reply_to == written.properties.reply_to
    assert dict(message.headers) == dict(written.properties.headers or {})


def test_what_is_no_utf_8_is_readable_all_the_same() -> None:
    marshalled = (
        content_header({"message_id": "xx", "message_type": "A"}, 0).marshal().replace(b"\x02xx", b"\x02\xff\xfe")
    )
    message = RawMessage(marshalled, b"", redelivered=False)
    assert (message.message_id, message.type) == ("\ufffd\ufffd", "A")


def test_headers_that_are_no_amqp_fail_when_they_are_asked_for_and_nothing_else_does() -> None:
    marshalled = content_header({"headers": {"shard": "x"}, "message_id": "s:1"}, 0).marshal()
    unknown_type = marshalled.replace(b"\x05shardS", b"\x05shardZ")
    assert unknown_type != marshalled
    message = RawMessage(unknown_type, b"", redelivered=False)
    assert message.message_id == "s:1"
    with pytest.raises(ValueError, match="Unknown"):
        _ = message.headers


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 350), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 90), min_size=1, max_size=20),
    properties=PROPERTIES,
)
def test_deliveries_are_whole_wherever_the_network_cuts(
    sizes: list[int], cuts: list[int], properties: dict[str, Any]
) -> None:
    sent = [(bytes([number]) * size, bool(number % 2)) for number, size in enumerate(sizes)]
    stream = b"".join(
        delivery(tag, content, properties, redelivered=redelivered)
        for tag, (content, redelivered) in enumerate(sent, 1)
    )

    came = asyncio.run(read(chopped(stream, cuts)))

    assert [(one.message.body, one.message.redelivered) for one in came] == sent
    assert {one.message.message_id for one in came} == {
        properties.get("message_id") or None
    }  # pamqp leaves out what is empty


def test_what_was_handled_in_order_is_settled_by_one_frame_and_the_rest_alone() -> None:
    stream = b"".join(delivery(tag, b"x", {}, redelivered=False) for tag in range(1, 9))

    found: list[tuple[type, int, bool]] = []

    def settle(came: list[Tagged]) -> None:
        for tag in (4, 1, 3, 7):
            assert came[tag - 1].settle(requeue=False)
        assert came[1].settle(requeue=True)
        raw = came[0]._consumption.settlements(0.0)  # noqa: SLF001 - the bytes that it would write
        while raw:
            consumed, _, method = frame.unmarshal(raw)
            raw = raw[consumed:]
            assert isinstance(method, commands.Basic.Ack | commands.Basic.Nack)
            found.append((type(method), method.delivery_tag, method.multiple))

    asyncio.run(read([stream], settle))
    assert found == [
        (commands.Basic.Nack, 2, False),
        (commands.Basic.Ack, 4, True),
        (commands.Basic.Ack, 7, False),
    ]


def chopped(stream: bytes, cuts: list[int]) -> Iterable[bytes]:
    lengths, start = itertools.cycle(cuts), 0
    while start < len(stream):
        end = start + next(lengths)
        yield stream[start:end]
        start = end


async def read(chunks: Iterable[bytes], at_the_end: Callable[[list[Tagged]], None] = lambda _: None) -> list[Tagged]:
    """Consume without a broker: the answers to our methods are written by hand."""
    connection = ConsumeConnection(Broker("amqp://u:p@127.0.0.1:9/"))
    came: list[Tagged] = []
    consuming = asyncio.create_task(connection.consume("q", came.append, prefetch_count=100))
    for answer in (commands.Channel.OpenOk(), commands.Basic.QosOk(), commands.Basic.ConsumeOk(f"c{CHANNEL}")):
        for _ in range(5):
            await asyncio.sleep(0)  # until it is waited for
        connection.data_received(frame.marshal(answer, CHANNEL))
    async with asyncio.timeout(10):
        await consuming
    for chunk in chunks:
        connection.data_received(chunk)
    at_the_end(came)
    connection.abort("the test is over")
    return came
