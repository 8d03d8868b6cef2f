"""What tests of the wire share: a broker behind a proxy, names, a plain connection beside it, a rig for consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aio_pika
import pytest

from eventbus.amqp.broker import Broker
from eventbus.names import Names
from tests.tcp_proxy import TcpProxy, tcp_proxy
from tests.wire import consume_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

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


@pytest.fixture(scope="module")
def fleet(broker_url: str) -> Iterator[consume_rig.Fleet]:
    """gw-sim and a coordinator, for all tests of a file."""
    with consume_rig.fleet(broker_url) as running:
        yield running


@pytest.fixture
async def rig(fleet: consume_rig.Fleet, observer: AbstractChannel, tmp_path: Path) -> AsyncIterator[consume_rig.Rig]:
    """A group of consumers of the file's fleet, one for each test."""
    async with consume_rig.rig(fleet, observer, tmp_path) as tested:
        yield tested
