"""`gw-run`: a whole fleet on one machine, drained by one Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient
from eventbus.coordinator_client import CoordinatorClient
from eventbus.names import Names
from eventbus.parent import PARENT_GONE, tie_to_parent
from eventbus.process import run_process, unless_stopped
from eventbus.settings import command, run_command
from ops.broker_node import BrokerNode
from ops.errors import SimulatorFailedError
from ops.fleet import Fleet
from ops.line_printer import LinePrinter
from ops.playground import suggestions
from ops.run_settings import BROKER_FOLDER, SIMULATOR_TOKEN, RunSettings
from ops.supervisor import FIRST_BACKOFF_S, MAX_BACKOFF_S, Supervisor, describe_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

CONSUMING_TIMEOUT_S = 60.0


async def _run(settings: RunSettings, stop: asyncio.Event, *, is_child: bool) -> None:
    if is_child:
        asyncio.get_running_loop().add_signal_handler(PARENT_GONE, stop.set)
    printer = LinePrinter(sys.stdout)
    async with contextlib.AsyncExitStack() as stack:
        url, node = settings.amqp_url.get_secret_value(), None
        if not settings.broker_is_given:
            printer.say("starting a private RabbitMQ node (AMQP_URL is not set)")
            node = await stack.enter_async_context(BrokerNode(settings.data_dir / BROKER_FOLDER))
            url = node.url
        supervisor = await stack.enter_async_context(Supervisor(printer.line, printer.say))
        fleet = Fleet(supervisor, _environment(settings, url))
        try:
            at_url = settings.model_copy(update={"amqp_url": SecretStr(url)})
            running = _until_stopped(settings, fleet, Broker.from_settings(at_url), printer.say, stop)
            await supervisor.run(running if node is None else _with_broker(node, running, printer.say))
        finally:
            printer.say("draining; Ctrl-C again leaves at once")
            await fleet.drain(handlers_s=settings.drain_timeout_s)


async def _with_broker(node: BrokerNode, work: Coroutine[Any, Any, None], say: Callable[[str], None]) -> None:
    """Do `work`, and start the private broker again, with its data, whenever it ends."""
    keeping = asyncio.create_task(_keep_broker(node, say), name="private broker")
    working = asyncio.create_task(work, name="fleet")
    try:
        await asyncio.wait([keeping, working], return_when=asyncio.FIRST_COMPLETED)
        await (keeping if keeping.done() else working)
    finally:
        for task in (keeping, working):
            task.cancel()
        await asyncio.wait([keeping, working])


async def _keep_broker(node: BrokerNode, say: Callable[[str], None]) -> None:
    backoff_s = FIRST_BACKOFF_S
    while True:
        code = await node.wait()
        say(f"the private RabbitMQ node ended with {describe_exit(code)}; started again in {backoff_s:g} s")
        await asyncio.sleep(backoff_s)
        backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
        await node.start()


async def _until_stopped(
    settings: RunSettings, fleet: Fleet, broker: Broker, say: Callable[[str], None], stop: asyncio.Event
) -> None:
    await unless_stopped(stop, _start(settings, fleet, broker, say))
    await stop.wait()


async def _start(settings: RunSettings, fleet: Fleet, broker: Broker, say: Callable[[str], None]) -> None:
    if settings.sim:
        shards = str(settings.shard_count or 2)
        control_file = str(settings.data_dir / "simulator.url")
        simulator = await fleet.start_simulator(
            "--shards", shards, "--rate", str(settings.sim_rate), "--control-file", control_file
        )
        say(f"the simulated Discord is controlled at {simulator.control_url}")
    fleet.add_coordinator()
    if settings.entrypoint is not None:
        directory = str((settings.entrypoint_dir or Path()).resolve())
        what: tuple[str, ...] = (
            "--entrypoint",
            settings.entrypoint,
            "--entrypoint-dir",
            directory,
            "--group",
            settings.group,
        )
        if settings.reload:
            what += ("--reload",)
        for _ in range(settings.process_count):
            fleet.add_consumer(*what)
    shard_count = await _shard_count(broker, settings.namespace, timeout_s=settings.connect_timeout_s)
    if settings.process_count:  # before the first dispatch comes, the group's queue is there
        await fleet.wait_until_consuming(broker, settings.group, count=1, timeout_s=CONSUMING_TIMEOUT_S)
    capacity = math.ceil(shard_count / settings.worker_count)
    for _ in range(settings.worker_count):
        fleet.add_worker("--shards", "auto", "--capacity", str(capacity))
    say(f"{shard_count} shards, {settings.worker_count} workers, {settings.process_count} consumer processes")
    if fleet.simulator is not None:
        with contextlib.suppress(SimulatorFailedError):  # it is only advice
            for line in await suggestions(fleet.simulator.control_url, shard_count):
                say(f"try in another shell: {line}")


async def _shard_count(broker: Broker, namespace: str, *, timeout_s: float) -> int:
    link = Link(broker, name="gw-run")
    coordinator = CoordinatorClient(RpcClient(link), Names(namespace))
    await link.open(timeout_s=timeout_s)
    try:
        return (await coordinator.config(timeout_s=timeout_s)).shard_count
    finally:
        await link.close()


def _environment(settings: RunSettings, amqp_url: str) -> dict[str, str]:
    token = SIMULATOR_TOKEN if settings.sim else settings.token.get_secret_value()
    environment = {
        "AMQP_URL": amqp_url,
        "DISCORD_TOKEN": token,
        "GW_NAMESPACE": settings.namespace,
        "GW_REST_URL": settings.rest_url,
        "GW_LOG_LEVEL": settings.log_level,
        "GW_LOG_FORMAT": settings.log_format,
        "GW_CONNECT_TIMEOUT": str(settings.connect_timeout_s),
        "GW_DRAIN_TIMEOUT": str(settings.drain_timeout_s),
        "GW_PROCESSES": "1",  # of each consumer: --process-count says how many there are
    }
    if settings.intents is not None:
        environment["GW_INTENTS"] = settings.intents
    if settings.shard_count is not None:
        environment["GW_SHARD_COUNT"] = str(settings.shard_count)
    for name, value in (
        ("GW_CA_CERT", settings.ca_cert),
        ("GW_CLIENT_CERT", settings.client_cert),
        ("GW_PRIVATE_KEY", settings.private_key),
    ):
        if value is not None:
            environment[name] = os.path.abspath(value)
    return environment


def _main(settings: RunSettings) -> None:
    """Run a bot on this machine: coordinator, gateway workers and consumers as processes, and RabbitMQ if need be."""
    is_child = tie_to_parent("gw-run")
    run_process("gw-run", settings, lambda stop: _run(settings, stop, is_child=is_child))


def main() -> None:
    """The command."""
    run_command(command(RunSettings, _main), name="gw-run")
