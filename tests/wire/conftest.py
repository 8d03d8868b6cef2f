"""What tests of the wire share: a broker behind a proxy, names, a plain connection beside it, a rig for consumers."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import aio_pika
import pytest

from eventbus.amqp.broker import Broker
from eventbus.names import Names
from tests.tcp_proxy import TcpProxy, tcp_proxy
from tests.waiting import eventually
from tests.wire import consume_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from aio_pika.abc import AbstractChannel

CONNECT_TIMEOUT_S = 10
REDIS = shutil.which("redis-server")
MISSING = "redis-server is not installed: run make setup as root, or apt-get install redis-server"


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


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[int]:
    """A Redis of the test's own, on loopback, that stores nothing. Where changes are judged, there has to be one."""
    if REDIS is None and not os.environ.get("CI"):
        pytest.skip(MISSING)
    assert REDIS is not None, MISSING
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        yield port
        process.terminate()


@pytest.fixture
async def redis_url(redis_port: int) -> str:
    await eventually(lambda: _answers(redis_port))
    return f"redis://127.0.0.1:{redis_port}"


async def _answers(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"PING\r\n")
    answer = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return answer == b"+PONG\r\n"
