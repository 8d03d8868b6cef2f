"""Sets the stage of a chaos run: broker, link proxies, simulated Discord, the fleet, two consumer groups."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eventbus.amqp.broker import Broker
from eventbus.errors import RelayError
from ops.broker_node import BrokerNode
from ops.chaos.cast import Cast, Place
from ops.chaos.faults import Faults
from ops.chaos.judge import Judge
from ops.chaos.records import RecordFolder
from ops.chaos.tcp_proxy import TcpProxy
from ops.fleet import Fleet
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from ops.chaos.schedule import Size
    from ops.chaos.settings import ChaosSettings

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
GROUP = "chaos"
WITNESS_GROUP = "witness"
READY_TIMEOUT_S = 90.0
QUEUES_ARE_SAFE_S = 1.0
"""RabbitMQ 3.10 can lose a quorum queue that is younger than half a second when it is killed."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    supervisor: Supervisor
    cast: Cast
    simulator: SimulatorClient
    simulator_pid: int | None
    node: BrokerNode | None
    faults: Faults
    judge: Judge
    amqp_url: str
    namespace: str
    handlers_directory: Path


@contextlib.asynccontextmanager
async def open_stage(settings: ChaosSettings, directory: Path, note: Callable[[str], None]) -> AsyncIterator[Stage]:
    """Start everything in an empty `directory`; all shards are connected when it is yielded. `note` is the log."""
    _empty(directory)
    async with contextlib.AsyncExitStack() as stack:
        node = None
        if settings.amqp_url is None:
            node = await stack.enter_async_context(BrokerNode(directory / "broker"))
        amqp_url = settings.amqp_url or (node.url if node else "")
        environment = _environment(amqp_url) | dict(settings.environment)
        cast_of: list[Cast] = []

        def on_line(name: str, line: str) -> None:
            note(f"{name} | {line}")
            if cast_of:
                cast_of[0].on_line(name, line)

        supervisor = await stack.enter_async_context(Supervisor(on_line, note))
        fleet = Fleet(supervisor, dict(environment))
        gw_sim = await fleet.start_simulator(*_simulator_options(settings))
        environment["GW_REST_URL"] = gw_sim.rest_url
        cast = Cast(supervisor, {**os.environ, "PYTHONUNBUFFERED": "1", **environment}, note)
        cast_of.append(cast)
        simulator = await stack.enter_async_context(SimulatorClient(gw_sim.control_url))
        handlers, witness = RecordFolder(directory / "handlers"), RecordFolder(directory / "witness")
        size = settings.size
        links = await _open_links(stack, amqp_url, settings)
        _fill(cast, size, links[size.workers :], handlers, witness)
        faults = Faults(cast, simulator, node, note, settings.heartbeat_s, size.spared_count)
        judge = Judge(simulator, handlers, witness)
        await _until_listening(fleet, Broker(amqp_url), settings)
        _start_workers(cast, settings, links)
        await _until_served(judge, settings.size.shards)
        await asyncio.sleep(QUEUES_ARE_SAFE_S)
        pid, namespace = gw_sim.child.pid, environment["GW_NAMESPACE"]
        yield Stage(supervisor, cast, simulator, pid, node, faults, judge, amqp_url, namespace, handlers.directory)
        await cast.stop()


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)


def _environment(amqp_url: str) -> dict[str, str]:
    return {
        "AMQP_URL": amqp_url,
        "DISCORD_TOKEN": SIMULATOR_TOKEN,
        "GW_NAMESPACE": f"chaos-{secrets.token_hex(4)}",
        "GW_INTENTS": "ALL",
        "GW_MAX_INTERACTION_AGE": "0",  # late ones are handled too: what is skipped would count as lost
        "GW_CONNECT_TIMEOUT": "120",  # a killed broker takes long to come back on a busy machine: no crash of ours
        "GW_LOG_FORMAT": "json",
        "RECORD_DETAILS": "1",
    }


def _simulator_options(settings: ChaosSettings) -> tuple[str, ...]:
    shards = str(settings.size.shards)
    interval_ms = str(int(settings.heartbeat_s * 1000))
    buckets = str(max(1, settings.size.shards // 2))  # two shards share an identify bucket, so that its window counts
    return (
        *("--shards", shards, "--max-concurrency", buckets, "--heartbeat-interval-ms", interval_ms),
        *("--session-timeout-s", str(settings.session_timeout_s)),
        *("--guilds", "40", "--large-guilds", "0", "--seed", str(settings.seed)),
        *("--replay-age-s", str(settings.replay_age_s), "--replay-depth", str(settings.replay_depth)),
    )


async def _open_links(
    stack: contextlib.AsyncExitStack, amqp_url: str, settings: ChaosSettings
) -> Sequence[TcpProxy | None]:
    """For each worker, then for each consumer and each coordinator."""
    count = settings.size.workers + settings.size.consumers + settings.size.coordinators
    if not settings.has_links:
        return [None] * count
    return [await stack.enter_async_context(TcpProxy(amqp_url)) for _ in range(count)]


def _fill(
    cast: Cast, size: Size, links: Sequence[TcpProxy | None], handlers: RecordFolder, witness: RecordFolder
) -> None:
    """Coordinators and consumers; the witness has no proxy, because nothing is to happen to it alone."""
    bot = ("--entrypoint", "recording_bot:setup", "--entrypoint-dir", str(EXAMPLES), "--group")
    for number in range(size.coordinators):
        link = links[size.consumers + number]
        cast.add(cast.coordinators, Place(f"coordinator {number + 1}", "gw-coordinator", link=link))
    of_witness = {"RECORD_DIR": str(witness.directory), "WITNESS_GROUP": WITNESS_GROUP}
    cast.add(cast.witness, Place("witness", "python", ("-m", "ops.chaos.witness"), of_witness))
    record = {"RECORD_DIR": str(handlers.directory)}
    for number in range(size.consumers):
        name, link = f"consumer {number + 1}", links[number]
        cast.add(cast.consumers, Place(name, "gw-consume", (*bot, GROUP), record, link=link))


def _start_workers(cast: Cast, settings: ChaosSettings, links: Sequence[TcpProxy | None]) -> None:
    """As many as can hold all shards with the stand-bys to spare."""
    chosen = ("--shards", settings.worker_shards, "--capacity", str(settings.size.capacity))
    for number in range(settings.size.workers):
        arguments = (*chosen, "--worker-id", f"worker-{number + 1}")
        cast.add(cast.workers, Place(f"worker {number + 1}", "gw-worker", arguments, link=links[number]))


async def _until_listening(fleet: Fleet, broker: Broker, settings: ChaosSettings) -> None:
    for group, count in ((WITNESS_GROUP, 1), (GROUP, settings.size.consumers)):
        await fleet.wait_until_consuming(broker, group, count=count, timeout_s=READY_TIMEOUT_S)


async def _until_served(judge: Judge, shard_count: int) -> None:
    give_up_at = time.monotonic() + READY_TIMEOUT_S
    while not is_served(await judge.look(), shard_count):
        if time.monotonic() > give_up_at:
            raise RelayError(f"the shards did not connect within {READY_TIMEOUT_S:g} s: see the log")
        await asyncio.sleep(0.2)


def is_served(sessions: list[dict[str, object]], shard_count: int) -> bool:
    """Whether every shard has a session that somebody serves and that has its guilds."""
    served = {one["shard"] for one in sessions if one["state"] == "connected" and not one["guilds_pending"]}
    return len(served) == shard_count
