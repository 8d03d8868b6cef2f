"""`gw-worker`: the parts of a gateway worker, wired together."""

from __future__ import annotations

import asyncio

import aiohttp

from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient
from eventbus.coordinator_client import CoordinatorClient
from eventbus.names import Names
from eventbus.process import run_process
from eventbus.settings import command, run_command
from gateway_workers.permits import CoordinatorPermits
from gateway_workers.publisher import DispatchPublisher
from gateway_workers.resume_url import TrustedGateways
from gateway_workers.settings import WorkerSettings, make_worker_id
from gateway_workers.shard import ShardTools
from gateway_workers.worker import Worker


async def _work(settings: WorkerSettings, stop: asyncio.Event) -> None:
    broker, names = Broker.from_settings(settings), Names(settings.namespace)
    worker_id = make_worker_id(settings.worker_id)
    link = Link(broker, name=f"{worker_id} control")
    coordinator = CoordinatorClient(RpcClient(link), names)
    publisher = DispatchPublisher(
        broker, names, worker_id=worker_id, max_count=settings.window_count, max_bytes=settings.window_bytes
    )
    async with aiohttp.ClientSession(trust_env=True) as http:
        tools = ShardTools(
            http=http,
            publisher=publisher,
            permits=CoordinatorPermits(coordinator, worker_id=worker_id),
            bot_token=settings.token.get_secret_value(),
            gateways=TrustedGateways(settings.rest_url),
            compression=settings.transport_compression,
        )
        worker = Worker(
            settings, worker_id=worker_id, names=names, coordinator=coordinator, publisher=publisher, tools=tools
        )
        try:
            await worker.run(stop, link)
        finally:
            await publisher.close()
            await link.close()


def _run(settings: WorkerSettings) -> None:
    """Hold Discord's gateway sessions of some shards and publish their dispatches to RabbitMQ."""
    run_process("gw-worker", settings, lambda stop: _work(settings, stop))


def main() -> None:
    """The command."""
    run_command(command(WorkerSettings, _run), name="gw-worker")
