"""The control connection: opened again by itself, and set up anew each time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aio_pika
import aiormq.exceptions
import pytest

from eventbus.amqp import link as link_module
from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link, next_backoff
from eventbus.errors import BrokerLostError, BrokerRefusedError, BrokerUnreachableError
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel, AbstractConnection

    from eventbus.names import Names
    from tests.tcp_proxy import TcpProxy

TIMEOUT_S = 15


@contextlib.asynccontextmanager
async def kept(link: Link) -> AsyncIterator[asyncio.Task[None]]:
    await link.open(timeout_s=TIMEOUT_S)
    keeping = asyncio.create_task(link.keep())
    try:
        yield keeping
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await link.close()


async def test_every_connect_sets_everything_up_anew_in_order(broker: Broker, proxy: TcpProxy) -> None:
    link, calls = Link(broker, name="test"), []

    async def first(connection: AbstractConnection) -> None:
        channel = await connection.channel()
        await channel.declare_queue(exclusive=True)
        calls.append("first")

    async def second(_: AbstractConnection) -> None:
        calls.append("second")

    link.on_connect(first)
    link.on_connect(second)
    async with kept(link):
        assert calls == ["first", "second"]
        proxy.cut()
        await eventually(lambda: len(calls) == 4)
        assert calls == ["first", "second"] * 2
        await eventually(link.is_up.is_set)
        assert not link.connection.is_closed


async def test_while_the_broker_is_away_the_connection_says_so(broker: Broker, proxy: TcpProxy) -> None:
    link = Link(broker, name="test")
    async with kept(link):
        proxy.refuse()
        await eventually(lambda: not link.is_up.is_set())
        with pytest.raises(BrokerLostError, match="is being opened again"):
            _ = link.connection
        proxy.accept()
        async with asyncio.timeout(TIMEOUT_S):
            await link.is_up.wait()
        assert not link.connection.is_closed


async def test_a_connection_lost_during_the_set_up_is_opened_again(broker: Broker, proxy: TcpProxy) -> None:
    link, attempts = Link(broker, name="test"), []

    async def cut_twice(connection: AbstractConnection) -> None:
        attempts.append(connection)
        channel = await connection.channel()
        if 1 < len(attempts) < 4:
            proxy.cut()
        await channel.declare_queue(exclusive=True)

    link.on_connect(cut_twice)
    async with kept(link) as keeping:
        proxy.cut()
        await eventually(lambda: len(attempts) >= 4 and link.is_up.is_set())
        assert not keeping.done()


async def test_a_broker_frozen_during_the_set_up_is_left(
    broker: Broker, proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "SETUP_TIMEOUT_S", 0.3)
    link, attempts = Link(broker, name="test"), []

    async def stall_once(connection: AbstractConnection) -> None:
        attempts.append(connection)
        channel = await connection.channel()
        if len(attempts) == 2:
            proxy.stall()
            asyncio.get_running_loop().call_later(0.6, proxy.resume)
        await channel.declare_queue(exclusive=True)

    link.on_connect(stall_once)
    async with kept(link) as keeping:
        proxy.cut()
        await eventually(lambda: len(attempts) >= 3 and link.is_up.is_set())
        assert not keeping.done()


async def test_a_set_up_that_fails_on_the_first_connect_is_tried_again(broker: Broker, proxy: TcpProxy) -> None:
    link, attempts = Link(broker, name="test"), []

    async def cut_once(connection: AbstractConnection) -> None:
        attempts.append(connection)
        channel = await connection.channel()
        if len(attempts) == 1:
            proxy.cut()
        await channel.declare_queue(exclusive=True)

    link.on_connect(cut_once)
    async with kept(link):
        assert len(attempts) == 2


async def test_the_first_connect_waits_for_the_broker_and_gives_up_in_time(broker: Broker, proxy: TcpProxy) -> None:
    proxy.refuse()
    with pytest.raises(BrokerUnreachableError, match="start it, or set AMQP_URL"):
        await Link(broker, name="test").open(timeout_s=0.5)


async def test_a_refused_login_ends_the_wait_at_once(broker_url: str) -> None:
    link = Link(Broker(broker_url.replace("://", "://x", 1)), name="test")
    async with asyncio.timeout(5):
        with pytest.raises(BrokerRefusedError, match="refused the login of user 'x") as caught:
            await link.open(timeout_s=60)
    assert broker_url.split(":")[2].split("@", maxsplit=1)[0] not in str(caught.value)


async def test_an_unknown_virtual_host_is_refused_too(broker_url: str) -> None:
    link = Link(Broker(broker_url.rstrip("/") + "/no-such-vhost"), name="test")
    async with asyncio.timeout(5):
        with pytest.raises(BrokerRefusedError, match="'no-such-vhost'"):
            await link.open(timeout_s=60)


async def test_a_port_that_is_no_amqp_is_unreachable() -> None:
    async def says_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(says_http, "127.0.0.1", 0)
    link = Link(Broker(f"amqp://u:p@127.0.0.1:{server.sockets[0].getsockname()[1]}/"), name="test")
    try:
        with pytest.raises(BrokerUnreachableError):
            await link.open(timeout_s=0.3)
    finally:
        server.close()


async def test_waits_between_attempts_double_up_to_a_bound() -> None:
    waits = [link_module.FIRST_BACKOFF_S]
    for _ in range(8):
        waits.append(next_backoff(waits[-1]))
    assert waits[1] == 2 * waits[0]
    assert waits[-1] == link_module.MAX_BACKOFF_S


# What is lost alone


async def test_a_channel_that_is_lost_alone_is_set_up_again(broker: Broker) -> None:
    link, channels = Link(broker, name="test"), []

    async def set_up(connection: AbstractConnection) -> None:
        channels.append(await link.open_channel(connection, confirms=True))

    link.on_connect(set_up)
    async with kept(link):
        with pytest.raises(aiormq.exceptions.ChannelNotFoundEntity):
            await channels[0].declare_queue("no-such-queue", passive=True)
        await eventually(lambda: len(channels) == 2 and link.is_up.is_set())
        await channels[1].declare_queue(exclusive=True)


async def test_a_consumer_whose_queue_is_deleted_is_set_up_again(
    broker: Broker, names: Names, observer: AbstractChannel
) -> None:
    link, set_ups, cancelled, taken = Link(broker, name="test"), [], [], []

    async def set_up(connection: AbstractConnection) -> None:
        channel = await link.open_channel(connection, confirms=False, on_cancel=lambda: cancelled.append(1))
        queue = await channel.declare_queue(names.coordinator, durable=True, arguments={"x-queue-type": "quorum"})
        await queue.consume(taken.append, no_ack=True)
        set_ups.append(connection)

    link.on_connect(set_up)
    async with kept(link):
        await observer.queue_delete(names.coordinator)
        await eventually(lambda: len(set_ups) == 2 and link.is_up.is_set())
        assert cancelled == [1]
        await observer.default_exchange.publish(aio_pika.Message(b"x"), names.coordinator)
        await eventually(lambda: len(taken) == 1)


async def test_what_is_lost_while_it_is_set_up_is_set_up_again(broker: Broker) -> None:
    link, attempts = Link(broker, name="test"), []

    async def set_up(connection: AbstractConnection) -> None:
        attempts.append(connection)
        channel = await link.open_channel(connection, confirms=False)
        if len(attempts) == 2:
            target = await channel.get_exchange("no-such-exchange", ensure=False)
            await target.publish(aio_pika.Message(b"x"), "", mandatory=False)  # its refusal comes behind the set-up

    link.on_connect(set_up)
    async with kept(link):
        await link.restart("a test")
        await eventually(lambda: len(attempts) >= 3 and link.is_up.is_set())
        assert not link.connection.is_closed


# The end


async def test_a_cancellation_that_is_lost_while_connecting_ends_the_keeping(broker: Broker, proxy: TcpProxy) -> None:
    link, connecting = Link(broker, name="test"), asyncio.Event()

    async def lose_a_cancellation(_: AbstractConnection) -> None:
        if proxy.connection_count > 1:
            connecting.set()
            with contextlib.suppress(asyncio.CancelledError):  # as aiormq does now and then
                await asyncio.sleep(5)

    link.on_connect(lose_a_cancellation)
    async with kept(link) as keeping:
        proxy.cut()
        async with asyncio.timeout(TIMEOUT_S):
            await connecting.wait()
        keeping.cancel()
        await asyncio.wait([keeping], timeout=10)
        assert keeping.cancelled()
