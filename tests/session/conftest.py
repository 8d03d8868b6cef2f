"""What tests of the gateway session share: a real gw-sim, a real broker, and shards driven by the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway_workers import gateway_connection, reconnect
from tests.session.rig import BEAT_INTERVAL_MS, OPTIONS, Rig, rig_of
from tests.sim.conftest import _started, start_sim
from tests.tcp_proxy import TcpProxy, tcp_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.sim.conftest import Sim

__all__ = ["start_sim"]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts are tested on the policy itself; here they only cost time."""
    monkeypatch.setattr(reconnect, "FIRST_WAIT_S", 0.02)
    monkeypatch.setattr(reconnect, "INVALID_SESSION_WAIT_S", 0.02)
    monkeypatch.setattr(reconnect, "IDENTIFY_RETRY_S", 0.05)
    monkeypatch.setattr(gateway_connection, "MIN_HEARTBEAT_INTERVAL_S", 0.01)


@pytest.fixture(scope="session")
def calm_sim() -> Iterator[Sim]:
    """With Discord's heartbeat interval: no heartbeat comes by itself during a test, but for the jittered first."""
    with _started() as start:
        yield start(*OPTIONS)


@pytest.fixture(scope="session")
def beating_sim() -> Iterator[Sim]:
    """With a heartbeat interval of a fraction of a second."""
    with _started() as start:
        yield start(*OPTIONS, "--heartbeat-interval-ms", str(BEAT_INTERVAL_MS))


@pytest.fixture
async def rig(calm_sim: Sim, broker_url: str, namespace: str) -> AsyncIterator[Rig]:
    async with rig_of(calm_sim, broker_url, namespace) as made:
        yield made


@pytest.fixture
async def beating_rig(beating_sim: Sim, broker_url: str, namespace: str) -> AsyncIterator[Rig]:
    async with rig_of(beating_sim, broker_url, namespace) as made:
        yield made


@pytest.fixture
async def proxy(broker_url: str) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(broker_url) as running:
        yield running


@pytest.fixture
async def narrow_rig(beating_sim: Sim, broker_url: str, namespace: str, proxy: TcpProxy) -> AsyncIterator[Rig]:
    """Publishes over the proxy, in a window of 20 dispatches."""
    url = proxy.url(broker_url)
    async with rig_of(beating_sim, broker_url, namespace, publisher_url=url, max_count=20) as made:
        yield made
        proxy.resume()
