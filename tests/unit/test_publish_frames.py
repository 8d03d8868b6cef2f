"""Publishes as bytes, decoded again by pamqp: what a consumer will see is what was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body as amqp_body
from pamqp import commands, frame, header

from eventbus.amqp.publish_frames import (
    BULK_CHANNEL,
    URGENT_CHANNEL,
    PublishTemplate,
    as_replayed,
    body_size,
    exchange_of,
)

FRAME_MAX = 4096


def template(
    *,
    exchange: str = "gw.event.MESSAGE_CREATE",
    headers: dict[str, int | str] | None = None,
    frame_max: int = FRAME_MAX,
    channel: int = BULK_CHANNEL,
) -> PublishTemplate:
    return PublishTemplate(
        exchange=exchange,
        routing_key="7",
        event_type="MESSAGE_CREATE",
        headers=headers if headers is not None else {"shard": 7, "shard_count": 16, "fencing_token": 12},
        frame_max=frame_max,
        channel=channel,
    )


def decoded(
    raw: bytes, on_channel: int = BULK_CHANNEL
) -> tuple[commands.Basic.Publish, header.ContentHeader, list[bytes]]:
    """The method, the content header and the bodies; every frame on the channel, no byte left over."""
    contents = []
    while raw:
        consumed, channel, content = frame.unmarshal(raw)
        assert channel == on_channel
        assert consumed <= FRAME_MAX or not isinstance(content, amqp_body.ContentBody)
        contents.append(content)
        raw = raw[consumed:]
    method, content_header, *bodies = contents
    assert isinstance(method, commands.Basic.Publish)
    assert isinstance(content_header, header.ContentHeader)
    return method, content_header, [part.value for part in bodies if isinstance(part, amqp_body.ContentBody)]


def test_the_method_names_exchange_and_routing_key_and_wants_no_return() -> None:
    method, _, _ = decoded(template().render(b"{}", b"s:1", replayed=False, received_at=1.0))
    assert (method.exchange, method.routing_key) == ("gw.event.MESSAGE_CREATE", "7")
    assert not method.mandatory
    assert not method.immediate


def test_the_properties_are_the_documented_ones() -> None:
    _, content_header, _ = decoded(template().render(b"{}", b"abc:41", replayed=True, received_at=1754000000.125))
    properties = content_header.properties
    assert properties.content_type == "application/json"
    assert properties.delivery_mode == 2
    assert properties.message_type == "MESSAGE_CREATE"
    assert properties.message_id == "abc:41"
    assert properties.headers == {
        "shard": 7,
        "shard_count": 16,
        "fencing_token": 12,
        "replayed": True,
        "received_at": 1754000000.125,
    }


@pytest.mark.parametrize("size", [2, 3 * FRAME_MAX])
def test_every_frame_is_for_the_channel_that_was_chosen(size: int) -> None:
    raw = template(channel=URGENT_CHANNEL).render(b"x" * size, b"s:1", replayed=False, received_at=1.0)
    _, _, bodies = decoded(raw, URGENT_CHANNEL)
    assert b"".join(bodies) == b"x" * size


@given(
    body=st.binary(min_size=1, max_size=3 * FRAME_MAX),
    message_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
    replayed=st.booleans(),
    received_at=st.floats(allow_nan=False, allow_infinity=False),
    shard=st.integers(0, 99_999),
    token=st.integers(0, 2**63 - 1),
)
def test_whatever_is_rendered_decodes_to_the_same(
    body: bytes, message_id: str, replayed: bool, received_at: float, shard: int, token: int
) -> None:
    headers: dict[str, int | str] = {"shard": shard, "fencing_token": token}
    raw = template(headers=headers).render(body, message_id.encode(), replayed=replayed, received_at=received_at)
    _, content_header, bodies = decoded(raw)
    assert b"".join(bodies) == body
    assert content_header.body_size == len(body)
    assert content_header.properties.message_id == message_id
    assert content_header.properties.headers == {**headers, "replayed": replayed, "received_at": received_at}


@pytest.mark.parametrize(
    ("size", "count"),
    [
        (1, 1),
        (FRAME_MAX - 8, 1),
        (FRAME_MAX - 7, 2),
        (2 * (FRAME_MAX - 8), 2),
        (2 * (FRAME_MAX - 8) + 1, 3),
        (600_000, 147),
    ],
)
def test_a_big_body_goes_over_as_many_frames_as_it_needs(size: int, count: int) -> None:
    body = bytes(index % 251 for index in range(size))
    _, content_header, bodies = decoded(template().render(body, b"s:1", replayed=False, received_at=1.0))
    assert len(bodies) == count
    assert b"".join(bodies) == body
    assert content_header.body_size == size


def test_a_message_id_of_255_bytes_is_the_longest() -> None:
    _, content_header, _ = decoded(template().render(b"{}", b"x" * 255, replayed=False, received_at=1.0))
    assert content_header.properties.message_id == "x" * 255
    with pytest.raises(OverflowError):
        template().render(b"{}", b"x" * 256, replayed=False, received_at=1.0)


def test_one_template_renders_many_dispatches_apart() -> None:
    prepared = template()
    raw = b"".join(prepared.render(b"%d" % n, b"s:%d" % n, replayed=n == 2, received_at=float(n)) for n in (1, 2, 3))
    ids, bodies, replays = [], [], []
    while raw:
        consumed, _, content = frame.unmarshal(raw)
        raw = raw[consumed:]
        if isinstance(content, header.ContentHeader):
            ids.append(content.properties.message_id)
            replays.append((content.properties.headers or {})["replayed"])
        elif isinstance(content, amqp_body.ContentBody):
            bodies.append(content.value)
    assert ids == ["s:1", "s:2", "s:3"]
    assert bodies == [b"1", b"2", b"3"]
    assert replays == [False, True, False]


def test_a_publish_that_is_written_again_says_that_it_is_replayed_and_changes_nothing_else() -> None:
    template = PublishTemplate(
        exchange="gw.event.X", routing_key="0", event_type="X", headers={"shard": 0}, frame_max=FRAME_MAX
    )
    body = b'{"d":"\x08replayedt\x00"}'

    first = template.render(body, b"s:1", replayed=False, received_at=1.5)

    assert as_replayed(first) == template.render(body, b"s:1", replayed=True, received_at=1.5)
    assert as_replayed(as_replayed(first)).endswith(body + b"\xce")


@pytest.mark.parametrize("size", [1, 5000, 400_000])
def test_exchange_and_body_size_are_read_from_what_was_rendered(size: int) -> None:
    rendered = template().render(b"x" * size, b"s:1", replayed=False, received_at=1.0)
    method, content_header, _ = decoded(rendered)
    assert exchange_of(rendered) == method.exchange != ""
    assert body_size(rendered) == content_header.body_size == size
