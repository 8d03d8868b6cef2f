"""What a worker holds, on a real broker that is slow or answers nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from eventbus import messages
from eventbus.amqp.bound_queue import BoundQueue
from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient, RpcServer, is_bound
from eventbus.coordinator_client import CoordinatorClient
from gateway_workers import hand_over
from gateway_workers.checkpoints import CheckpointWriter
from gateway_workers.hand_over import HandOvers
from gateway_workers.held_shards import HeldShards
from gateway_workers.inflate import Compression
from gateway_workers.permits import CoordinatorPermits
from gateway_workers.publisher import DispatchPublisher
from gateway_workers.resume_url import TrustedGateways
from gateway_workers.shard import ShardTools
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel

    from eventbus.names import Names
    from tests.tcp_proxy import TcpProxy

TIMEOUT_S = 30
CONFIG = messages.BotConfig(shard_count=16, intents=1, gateway_url="ws://127.0.0.1:9", max_concurrency=1)


class Held:
    """Shards without Discord; the control connection goes through the proxy, the publishing one does not."""

    def __init__(self, broker_url: str, link: Link, names: Names, http: aiohttp.ClientSession) -> None:
        self.link = link
        self.names = names
        self.publisher = DispatchPublisher(Broker(broker_url), names, worker_id="w", max_count=100, max_bytes=1 << 20)
        self.coordinator = CoordinatorClient(RpcClient(link), names)
        self.inbox = BoundQueue(names.inbox("w"), {names.shard: "direct"})
        tools = ShardTools(
            http=http,
            publisher=self.publisher,
            permits=CoordinatorPermits(self.coordinator, worker_id="w"),
            bot_token="t",
            gateways=TrustedGateways("http://127.0.0.1:9"),
            compression=Compression.NONE,
        )
        self.group = asyncio.TaskGroup()
        self.shards = HeldShards(self.publisher, self.inbox, tools, self.group)
        self.server = RpcServer(link, declare=self.inbox.declare, handle=self._handle)

    async def _handle(self, body: bytes) -> messages.Message:
        del body
        return messages.Done()


@pytest.fixture
async def held(broker: Broker, broker_url: str, names: Names) -> AsyncIterator[Held]:
    link = Link(broker, name="w control")
    async with aiohttp.ClientSession() as http:
        made = Held(broker_url, link, names, http)
        await made.publisher.open(timeout_s=TIMEOUT_S)
        await link.open(timeout_s=TIMEOUT_S)
        async with made.group:
            yield made
        await link.close()
        await made.publisher.close()


async def test_shards_are_let_go_side_by_side_and_a_slow_broker_costs_no_other_shard_its_commands(
    held: Held, proxy: TcpProxy, observer: AbstractChannel
) -> None:
    numbers = range(12)
    await held.shards.hold(numbers)
    await held.shards.take_commands((*numbers, 15))
    proxy.stall()
    started_at = asyncio.get_running_loop().time()
    await held.shards.let_go(numbers)
    assert asyncio.get_running_loop().time() - started_at < 8  # one after the other it takes 12 s
    assert not await is_bound(observer, held.names.holder, "0")
    proxy.resume()

    async def none_is_bound() -> bool:
        return not any([await is_bound(observer, held.names.shard, str(number)) for number in numbers])

    await eventually(none_is_bound)
    assert await is_bound(observer, held.names.shard, "15")
    assert held.link.connection.is_closed is False


async def test_a_hand_over_that_no_coordinator_answers_ends_in_time_and_says_so(
    held: Held, observer: AbstractChannel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand_over, "GIVE_BACK_TIMEOUT_S", 0.5)
    await observer.declare_queue(held.names.coordinator, durable=True)  # nobody consumes it
    unheard = asyncio.Event()
    writer = CheckpointWriter(held.publisher, worker_id="w", current=held.shards.checkpoints)
    hand_overs = HandOvers(held.coordinator, held.shards, writer, held.group, worker_id="w", on_unreleased=unheard.set)
    await held.shards.hold([3])
    held.shards.start(messages.Lease(shard=3, fencing_token=7), CONFIG)
    hand_overs.begin(held.shards)
    async with asyncio.timeout(5):  # one call alone waits for so long
        await hand_overs.ended()
    assert unheard.is_set()
    assert not list(held.shards)
    assert not await is_bound(observer, held.names.holder, "3")
    await observer.queue_delete(held.names.coordinator)
