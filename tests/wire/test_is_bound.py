"""`is_bound`: the broker's own word on whether anybody takes a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aio_pika
import pytest

from eventbus.amqp.rpc import is_bound
from eventbus.errors import BrokerLostError
from tests.waiting import eventually

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel

    from eventbus.names import Names
    from tests.tcp_proxy import TcpProxy

CONNECT_TIMEOUT_S = 10


async def test_a_queue_by_its_name_is_bound_as_long_as_it_exists(observer: AbstractChannel, names: Names) -> None:
    assert not await is_bound(observer, "", names.worker("w"))
    queue = await observer.declare_queue(names.worker("w"), exclusive=True)
    assert await is_bound(observer, "", names.worker("w"))
    await queue.delete(if_empty=False)
    assert not await is_bound(observer, "", names.worker("w"))


async def test_a_binding_counts_for_its_key_alone(observer: AbstractChannel, names: Names) -> None:
    await observer.declare_exchange(names.holder, type="direct", durable=True)
    queue = await observer.declare_queue(exclusive=True)
    await queue.bind(names.holder, "3")
    assert await is_bound(observer, names.holder, "3")
    assert not await is_bound(observer, names.holder, "33")
    await queue.unbind(names.holder, "3")
    assert not await is_bound(observer, names.holder, "3")


async def test_the_answer_follows_the_death_of_the_holder(
    observer: AbstractChannel, names: Names, proxy: TcpProxy, broker_url: str
) -> None:
    await observer.declare_exchange(names.holder, type="direct", durable=True)
    holder = await aio_pika.connect(proxy.url(broker_url), timeout=CONNECT_TIMEOUT_S)
    queue = await (await holder.channel()).declare_queue(names.worker("w"), exclusive=True)
    await queue.bind(names.holder, "3")
    assert await is_bound(observer, names.holder, "3")
    proxy.cut()

    async def is_gone() -> bool:
        return not await is_bound(observer, names.holder, "3")

    await eventually(is_gone)
    await holder.close()


async def test_a_missing_exchange_is_no_answer(observer: AbstractChannel, names: Names) -> None:
    with pytest.raises(BrokerLostError):
        await is_bound(observer, names.holder, "3")


async def test_a_lost_broker_is_no_answer(proxy: TcpProxy, broker_url: str, names: Names) -> None:
    connection = await aio_pika.connect(proxy.url(broker_url), timeout=CONNECT_TIMEOUT_S)
    channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
    proxy.cut()
    with pytest.raises(BrokerLostError):
        await is_bound(channel, "", names.worker("w"))
    await connection.close()
