"""What tests of the wire share: a broker behind a proxy, names of their own, a plain connection beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aio_pika
import pytest

from eventbus.amqp.broker import Broker
from eventbus.names import Names
from tests.tcp_proxy import TcpProxy, tcp_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel

CONNECT_TIMEOUT_S = 10


@pytest.fixture
def names(namespace: str) -> Names:
    return Names(namespace)


@pytest.fixture
async def proxy(broker_url: str) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(broker_url) as running:
        yield running


@pytest.fixture
def broker(proxy: TcpProxy, broker_url: str) -> Broker:
    """The broker, reached through the proxy."""
    return Broker(proxy.url(broker_url))


@pytest.fixture
async def observer(broker_url: str) -> AsyncIterator[AbstractChannel]:
    """A channel that no proxy cuts."""
    async with await aio_pika.connect(broker_url, timeout=CONNECT_TIMEOUT_S) as connection:
        yield await connection.channel(publisher_confirms=True, on_return_raises=True)
