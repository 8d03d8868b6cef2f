"""The publishing connection against a real broker, and against what only looks like one."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from pamqp import commands, frame

from eventbus.amqp import raw_connection
from eventbus.amqp.broker import Broker
from eventbus.amqp.publish_connection import PublishConnection
from eventbus.amqp.publish_frames import BULK_CHANNEL, URGENT_CHANNEL, PublishTemplate
from eventbus.amqp.raw_connection import ATTEMPT_CHANNELS
from eventbus.amqp.rpc import is_bound
from eventbus.errors import BrokerLostError, BrokerRefusedError, BrokerUnreachableError
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aio_pika.abc import AbstractChannel

    from eventbus.names import Names
    from tests.tcp_proxy import TcpProxy

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

TIMEOUT_S = 10


class Confirms:
    """Collects (channel, tag, multiple, ok) and calls of `on_writable`."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, bool, bool]] = []
        self.writable_count = 0

    def on_confirm(self, channel: int, tag: int, multiple: bool, ok: bool) -> None:
        self.seen.append((channel, tag, multiple, ok))

    def on_writable(self) -> None:
        self.writable_count += 1

    def covers(self, tag: int, channel: int = BULK_CHANNEL) -> bool:
        return any(seen == tag or (multiple and seen >= tag) for on, seen, multiple, _ in self.seen if on == channel)


@contextlib.asynccontextmanager
async def opened(broker: Broker) -> AsyncIterator[tuple[PublishConnection, Confirms]]:
    confirms = Confirms()
    connection = await PublishConnection.open(
        broker, name="test", on_confirm=confirms.on_confirm, on_writable=confirms.on_writable
    )
    try:
        yield connection, confirms
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[Broker]:
    """Something that is no RabbitMQ, on a port."""

    answering: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering.add(asyncio.current_task())
        with contextlib.suppress(OSError):
            await serve(reader, writer)
            await reader.read()
        writer.transport.abort()
        await asyncio.sleep(0)

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield Broker(f"amqp://u:p@127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*(task for task in answering if task is not None))


async def open_and_fail(broker: Broker) -> None:
    confirms = Confirms()
    await PublishConnection.open(broker, name="t", on_confirm=confirms.on_confirm, on_writable=confirms.on_writable)


def template(names: Names, event_type: str = "A", channel: int = BULK_CHANNEL) -> PublishTemplate:
    exchange = names.event(event_type)
    options: dict[str, Any] = {"headers": {}, "frame_max": 131072, "channel": channel}
    return PublishTemplate(exchange=exchange, routing_key="0", event_type=event_type, **options)


async def test_every_publish_of_a_batch_is_confirmed(broker: Broker, names: Names) -> None:
    async with opened(broker) as (connection, confirms):
        await connection.topology.declare_event_exchange(names.event("A"))
        publish = template(names).render(b"{}", b"s:1", replayed=False, received_at=1.0)
        connection.publish([publish] * 250)
        await eventually(lambda: all(confirms.covers(tag) for tag in range(1, 251)))
        assert all(ok for _, _, _, ok in confirms.seen)


async def test_each_publishing_channel_counts_its_own_tags(broker: Broker, names: Names) -> None:
    async with opened(broker) as (connection, confirms):
        await connection.topology.declare_event_exchange(names.event("A"))
        for channel, count in ((BULK_CHANNEL, 5), (URGENT_CHANNEL, 3)):
            one = template(names, channel=channel).render(b"{}", b"s:1", replayed=False, received_at=1.0)
            connection.publish([one] * count)
        await eventually(lambda: confirms.covers(5) and confirms.covers(3, URGENT_CHANNEL))
        assert max(tag for channel, tag, _, _ in confirms.seen if channel == URGENT_CHANNEL) == 3


async def test_the_proof_queue_vanishes_with_the_connection(
    broker: Broker, names: Names, observer: AbstractChannel
) -> None:
    async with opened(broker) as (connection, _):
        await connection.topology.declare_proof_queue(names.worker("w"))
        assert await is_bound(observer, "", names.worker("w"))
    await eventually(lambda: _gone(observer, names.worker("w")))


async def _gone(observer: AbstractChannel, queue: str) -> bool:
    return not await is_bound(observer, "", queue)


async def test_a_second_connection_cannot_take_the_proof_queue(broker: Broker, names: Names) -> None:
    async with opened(broker) as (first, _), opened(broker) as (second, _):
        await first.topology.declare_proof_queue(names.worker("w"))
        with pytest.raises(BrokerLostError, match="RESOURCE_LOCKED"):
            await second.topology.declare_proof_queue(names.worker("w"))
        assert not first.closed.done()


async def test_pings_do_not_pile_up_in_the_proof_queue(broker: Broker, names: Names, observer: AbstractChannel) -> None:
    async with opened(broker) as (connection, _):
        await connection.topology.declare_exchange(names.holder, "direct")
        await connection.topology.declare_proof_queue(names.worker("w"))
        await connection.topology.bind(names.worker("w"), names.holder, "3")
        assert [await is_bound(observer, names.holder, "3") for _ in range(20)] == [True] * 20
        assert not await is_bound(observer, names.holder, "4")
        await connection.topology.unbind(names.worker("w"), names.holder, "3")
        assert not await is_bound(observer, names.holder, "3")
        await connection.topology.unbind(names.worker("w"), names.holder, "3")


async def test_a_missing_exchange_closes_the_connection_and_says_why(broker: Broker, names: Names) -> None:
    async with opened(broker) as (connection, _):
        publish = template(names, "NOBODY_DECLARED_IT").render(b"{}", b"s:1", replayed=False, received_at=1.0)
        connection.publish([publish])
        async with asyncio.timeout(TIMEOUT_S):
            assert "NOT_FOUND" in await connection.closed
        assert not connection.is_writable
        with pytest.raises(BrokerLostError, match="NOT_FOUND"):
            await connection.topology.declare_event_exchange(names.event("A"))


async def test_methods_asked_at_once_get_their_own_answers(broker: Broker, names: Names) -> None:
    async with opened(broker) as (connection, _):
        await connection.topology.declare_exchange(names.holder, "direct")
        await connection.topology.declare_proof_queue(names.worker("w"))
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(
                *(connection.topology.bind(names.worker("w"), names.holder, str(shard)) for shard in range(20)),
                *(connection.topology.declare_event_exchange(names.event(f"T{number}")) for number in range(20)),
            )
        assert not connection.closed.done()


async def test_a_cancelled_method_leaves_the_next_ones_their_answers(
    broker: Broker, proxy: TcpProxy, names: Names
) -> None:
    async with opened(broker) as (connection, _):
        await connection.topology.declare_exchange(names.holder, "direct")
        await connection.topology.declare_proof_queue(names.worker("w"))
        proxy.stall()
        cancelled = asyncio.create_task(connection.topology.declare_event_exchange(names.event("A")))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        proxy.resume()
        async with asyncio.timeout(TIMEOUT_S):
            await connection.topology.bind(names.worker("w"), names.holder, "1")
            await connection.topology.declare_event_exchange(names.event("B"))
        assert not connection.closed.done()


async def until_written(connection: PublishConnection, count: int) -> None:
    """Let the tasks that ask run until they wait for an answer."""
    for _ in range(count):
        await asyncio.sleep(0)
    assert not connection.closed.done()


async def test_the_late_answer_to_a_cancelled_method_is_not_taken_for_one_of_another_channel() -> None:
    confirms = Confirms()
    connection = PublishConnection(
        Broker("amqp://u:p@127.0.0.1:9/"), on_confirm=confirms.on_confirm, on_writable=confirms.on_writable
    )
    cancelled = asyncio.create_task(connection.topology.declare_exchange("holder", "direct"))
    await until_written(connection, 3)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    attempting = asyncio.create_task(connection.topology.declare_event_exchange("event"))
    await until_written(connection, 3)
    connection.data_received(frame.marshal(commands.Channel.OpenOk(), ATTEMPT_CHANNELS[0]))
    await until_written(connection, 3)
    refusal = commands.Channel.Close(reply_code=403, reply_text="ACCESS_REFUSED", class_id=40, method_id=10)
    connection.data_received(frame.marshal(refusal, ATTEMPT_CHANNELS[0]))
    connection.data_received(frame.marshal(commands.Exchange.DeclareOk(), 2))
    async with asyncio.timeout(TIMEOUT_S):
        assert await attempting == "ACCESS_REFUSED (403)"
    connection.abort("the test is over")


async def test_under_an_alarm_methods_fail_at_once_and_their_answers_are_nobodys(broker: Broker, names: Names) -> None:
    async with opened(broker) as (connection, confirms):
        asking = asyncio.create_task(connection.topology.declare_exchange(names.holder, "direct"))
        await until_written(connection, 3)
        connection.data_received(frame.marshal(commands.Connection.Blocked("low on memory"), 0))
        async with asyncio.timeout(TIMEOUT_S / 2):
            with pytest.raises(BrokerLostError, match="alarm"):
                await asking
            for _ in range(16):
                with pytest.raises(BrokerLostError, match="alarm"):
                    await connection.topology.bind("q", names.holder, "1")
            with pytest.raises(BrokerLostError, match="alarm"):
                await connection.topology.declare_event_exchange(names.event("A"))
        connection.data_received(frame.marshal(commands.Connection.Unblocked(), 0))
        assert confirms.writable_count == 1
        await connection.topology.declare_proof_queue(names.worker("w"))
        await connection.topology.bind(names.worker("w"), names.holder, "1")
        assert await connection.topology.declare_event_exchange(names.event("A")) is None
        assert not connection.closed.done()


async def test_a_connection_knows_whether_its_own_binding_is_there(
    broker: Broker, names: Names, observer: AbstractChannel
) -> None:
    queue = names.worker("w")
    async with opened(broker) as (connection, _):
        await connection.topology.declare_exchange(names.holder, "direct")
        await connection.topology.declare_proof_queue(queue)
        await connection.topology.bind(queue, names.holder, "1")
        answers = [await connection.topology.is_bound(names.holder, key, queue) for key in ("1", "2", "1")]
        assert answers == [True, False, True]
        await observer.exchange_delete(names.holder)
        await observer.declare_exchange(names.holder, type="direct", durable=True)
        assert not await connection.topology.is_bound(names.holder, "1", queue)
        assert not connection.closed.done()


async def test_a_cut_connection_says_so_and_fails_what_waits(broker: Broker, proxy: TcpProxy, names: Names) -> None:
    async with opened(broker) as (connection, _):
        proxy.stall()
        asking = asyncio.create_task(connection.topology.declare_event_exchange(names.event("A")))
        await asyncio.sleep(0)
        proxy.cut()
        with pytest.raises(BrokerLostError):
            await asking
        async with asyncio.timeout(TIMEOUT_S):
            assert await connection.closed


async def test_a_silent_broker_is_given_up(broker: Broker, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PublishConnection, "heartbeat_s", 1)
    async with opened(broker) as (connection, _):
        proxy.stall()
        async with asyncio.timeout(TIMEOUT_S):
            assert "silent" in await connection.closed


async def test_an_idle_connection_lives_on_by_heartbeats(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PublishConnection, "heartbeat_s", 2)
    async with opened(broker) as (connection, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7):
                await asyncio.shield(connection.closed)


async def test_a_full_socket_makes_it_unwritable_until_it_drains(broker: Broker, proxy: TcpProxy, names: Names) -> None:
    async with opened(broker) as (connection, confirms):
        await connection.topology.declare_event_exchange(names.event("A"))
        publish = template(names).render(b"x" * 1_000_000, b"s:1", replayed=False, received_at=1.0)
        proxy.stall()
        for _ in range(20):
            connection.publish([publish])
        assert not connection.is_writable
        proxy.resume()
        await eventually(lambda: confirms.covers(20))
        assert connection.is_writable
        assert confirms.writable_count > 0


# What is refused


def changed(url: str, *, user: str | None = None, password: str | None = None, vhost: str = "") -> Broker:
    parts = urlsplit(url)
    login = f"{user or parts.username}:{password or parts.password}"
    return Broker(f"amqp://{login}@{parts.hostname}:{parts.port}/{vhost}")


async def test_a_wrong_password_is_refused_at_once_without_repeating_it(broker_url: str) -> None:
    password = secrets.token_hex(8)
    with pytest.raises(BrokerRefusedError, match="refused the login of user") as caught:
        await open_and_fail(changed(broker_url, password=password))
    assert "AMQP_URL" in str(caught.value)
    assert password not in str(caught.value)


async def test_an_unknown_user_is_refused_by_name(broker_url: str) -> None:
    with pytest.raises(BrokerRefusedError, match="'nobody-at-all'"):
        await open_and_fail(changed(broker_url, user="nobody-at-all"))


async def test_an_unknown_virtual_host_is_refused_by_name(broker_url: str) -> None:
    with pytest.raises(BrokerRefusedError, match="'no-such-vhost'"):
        await open_and_fail(changed(broker_url, vhost="no-such-vhost"))


async def test_a_port_where_nothing_listens_is_named(unused_port: int) -> None:
    with pytest.raises(BrokerUnreachableError, match=f"no RabbitMQ answers at 127.0.0.1:{unused_port}.*AMQP_URL"):
        await open_and_fail(Broker(f"amqp://u:p@127.0.0.1:{unused_port}/"))


@pytest.fixture
async def unused_port() -> int:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def says_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: keep-alive\r\n\r\n")


async def says_another_amqp(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"AMQP\x00\x01\x00\x00")


async def says_noise(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x01\x00\x00\x00\x00\x00\x04\xff\xff\xff\xff\xce")


async def hangs_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("serve", [says_http, says_another_amqp, says_noise, hangs_up])
async def test_a_port_that_is_no_amqp_is_said_to_be_none_at_once(serve: Serve) -> None:
    async with listening(serve) as broker, asyncio.timeout(5):
        with pytest.raises(BrokerUnreachableError, match=f"no RabbitMQ answers at {broker}"):
            await open_and_fail(broker)


async def test_a_port_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw_connection, "OPEN_TIMEOUT_S", 0.3)

    async def says_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(says_nothing) as broker, asyncio.timeout(TIMEOUT_S):
        with pytest.raises(BrokerUnreachableError):
            await open_and_fail(broker)
