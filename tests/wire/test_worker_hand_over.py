"""Hand-overs of a real gw-worker with simulated Discord; the coordinator is played by hand."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aiohttp import ClientSession

from coordinator import hand_over_book
from eventbus import messages
from eventbus.amqp.broker import Broker
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient
from eventbus.errors import EXIT_USAGE, UnroutableError
from eventbus.names import Names
from gateway_workers import hand_over
from ops.fleet import Fleet, program
from ops.run_settings import SIMULATOR_TOKEN
from ops.simulator_client import SimulatorClient
from ops.supervisor import Supervisor
from tests.forge import launch
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractIncomingMessage


class HandCoordinator:
    """Answers as it is told; `heard` is every request, `leases` what the worker should hold."""

    def __init__(self, url: str, names: Names) -> None:
        self._url = url
        self._names = names
        self.leases = {shard: messages.Lease(shard=shard, fencing_token=10 + shard) for shard in (0, 1)}
        self.hand_over: tuple[int, ...] = ()
        self.is_draining = False
        self.answers_releases = asyncio.Event()
        self.heard: list[Any] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[HandCoordinator]:
        async with await aio_pika.connect(self._url) as connection:
            self._channel = await connection.channel()
            arguments = {"x-queue-type": "quorum", "x-single-active-consumer": True}
            queue = await self._channel.declare_queue(self._names.coordinator, durable=True, arguments=arguments)
            tag = await queue.consume(self._take, no_ack=True)
            yield self
            await queue.cancel(tag)
            await queue.delete(if_unused=False, if_empty=False)

    async def _take(self, delivery: AbstractIncomingMessage) -> None:
        task = asyncio.create_task(self._answer(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, delivery: AbstractIncomingMessage) -> None:
        request = messages.decode(messages.coordinator_request, delivery.body)
        self.heard.append(request)
        if isinstance(request, messages.Release):
            await self.answers_releases.wait()
        message = aio_pika.Message(messages.encode(self._reply(request)), correlation_id=delivery.correlation_id)
        await self._channel.default_exchange.publish(message, delivery.reply_to or "")

    def _reply(self, request: messages.Message) -> messages.Message:
        if isinstance(request, messages.Register | messages.Renew):
            config = messages.BotConfig(shard_count=2, intents=513, gateway_url=self.gateway_url, max_concurrency=16)
            return messages.Leases(
                leases=tuple(self.leases.values()),
                hand_over=self.hand_over,
                draining=self.is_draining,
                config=config,
                renew_interval_s=0.2,
                lease_duration_s=10.0,
            )
        if isinstance(request, messages.IdentifyRequest):
            return messages.IdentifyPermit(granted=True, valid_s=5.0)
        return messages.Done()

    gateway_url = ""

    def of(self, kind: type[Any]) -> list[Any]:
        """All requests of a kind so far."""
        return [request for request in self.heard if isinstance(request, kind)]

    def states(self) -> dict[int, str]:
        """The shards of the newest report."""
        reports = [one for one in self.heard if isinstance(one, messages.Register | messages.Renew)]
        return {lease.shard: lease.state for lease in reports[-1].held} if reports else {}

    def connected(self) -> dict[int, int]:
        """The shards that are connected by the newest report, and under which fencing token."""
        reports = [one for one in self.heard if isinstance(one, messages.Register | messages.Renew)]
        return {one.shard: one.fencing_token for one in reports[-1].held if one.state == "connected"} if reports else {}

    async def next_report(self) -> dict[int, str]:
        """The shards of a report that is sent from now on."""
        count = len(self.of(messages.Renew))
        await eventually(lambda: len(self.of(messages.Renew)) >= count + 2)  # the next one may be on its way
        return self.states()


class Play:
    """A worker that runs two shards, and who asks it."""

    def __init__(
        self, coordinator: HandCoordinator, fleet: Fleet, simulator: SimulatorClient, lines: list[str]
    ) -> None:
        self.coordinator = coordinator
        self.fleet = fleet
        self.simulator = simulator
        self.lines = lines


@pytest.fixture
async def play(broker_url: str, namespace: str, names: Names) -> AsyncIterator[Play]:
    lines: list[str] = []
    environment = {"AMQP_URL": broker_url, "DISCORD_TOKEN": SIMULATOR_TOKEN, "GW_NAMESPACE": namespace}
    coordinator = HandCoordinator(broker_url, names)
    async with (
        coordinator.running(),
        Supervisor(lambda name, line: lines.append(f"{name} | {line}"), lines.append, launch) as supervisor,
    ):
        fleet = Fleet(supervisor, environment)
        simulated = await fleet.start_simulator("--shards", "2", "--max-concurrency", "16", "--rate", "20")
        async with SimulatorClient(simulated.control_url) as simulator:
            coordinator.gateway_url = await _gateway_url(simulated.rest_url)
            fleet.add_worker("--shards", "0-1")
            await eventually(lambda: coordinator.states() == {0: "connected", 1: "connected"})
            yield Play(coordinator, fleet, simulator, lines)
            coordinator.answers_releases.set()
            await fleet.drain()
    print("\n".join(lines[-100:]))


async def _gateway_url(rest_url: str) -> str:

    headers = {"Authorization": f"Bot {SIMULATOR_TOKEN}"}
    async with ClientSession() as http, http.get(f"{rest_url}/gateway/bot", headers=headers) as response:
        return str((await response.json())["url"])


async def test_one_shard_is_handed_over_once_while_the_worker_goes_on_with_the_other(play: Play) -> None:
    coordinator = play.coordinator
    coordinator.hand_over = (0,)
    await eventually(lambda: coordinator.of(messages.Release))
    assert await coordinator.next_report() == {0: "handing_over", 1: "connected"}  # asked again and again
    lease = coordinator.leases.pop(0)
    assert await coordinator.next_report() == {0: "handing_over", 1: "connected"}
    coordinator.answers_releases.set()
    await eventually(lambda: coordinator.states() == {1: "connected"})

    release, *again = coordinator.of(messages.Release)
    assert all(one == release for one in again)  # after an answer that came late
    assert (release.shard, release.fencing_token) == (0, lease.fencing_token)
    assert release.session.seq > 0
    assert not [line for line in play.lines if "lease lost" in line]
    verdict = await play.simulator.verdict()
    assert (verdict["identifies"], verdict["resumes"], verdict["violations"]) == (2, 0, [])


async def test_a_shard_that_comes_back_at_once_is_resumed_though_the_release_is_unanswered(play: Play) -> None:
    coordinator = play.coordinator
    coordinator.hand_over = (0,)
    await eventually(lambda: coordinator.of(messages.Release))
    (release,) = coordinator.of(messages.Release)
    coordinator.hand_over = ()
    coordinator.leases[0] = messages.Lease(shard=0, fencing_token=99, session=release.session)
    await eventually(lambda: coordinator.connected() == {0: 99, 1: 11})
    coordinator.answers_releases.set()
    assert await coordinator.next_report() == {0: "connected", 1: "connected"}
    verdict = await play.simulator.verdict()
    assert (verdict["identifies"], verdict["resumes"], verdict["violations"]) == (2, 1, [])


async def test_a_release_that_nobody_answers_leads_to_a_registration_without_the_shard(play: Play) -> None:
    coordinator = play.coordinator
    coordinator.is_draining = True
    coordinator.hand_over = (0,)
    await eventually(lambda: len(coordinator.of(messages.Register)) == 2)
    again = coordinator.of(messages.Register)[1]
    assert [lease.shard for lease in again.held] == [1]
    assert again.draining
    assert (await play.simulator.verdict())["violations"] == []


async def test_a_shard_that_is_asked_for_but_leased_to_another_is_dropped_and_not_released(play: Play) -> None:
    coordinator = play.coordinator
    del coordinator.leases[0]
    coordinator.hand_over = (0,)
    await eventually(lambda: coordinator.states() == {1: "connected"})
    assert coordinator.of(messages.Release) == []


async def test_a_gateway_that_is_named_later_and_is_not_trusted_never_gets_the_bot_token(play: Play) -> None:
    coordinator = play.coordinator
    coordinator.gateway_url = "ws://0.0.0.0:9"
    coordinator.hand_over = (0,)
    await eventually(lambda: coordinator.of(messages.Release))
    (release,) = coordinator.of(messages.Release)
    session = release.session.model_copy(update={"resume_url": ""})
    coordinator.hand_over = ()
    coordinator.leases[0] = messages.Lease(shard=0, fencing_token=99, session=session)
    coordinator.answers_releases.set()
    await eventually(lambda: coordinator.connected() == {0: 99, 1: 11})
    (line,) = [line for line in play.lines if "gateway refused" in line]
    assert "ws://0.0.0.0:9" in line
    assert "--rest-url (GW_REST_URL)" in line
    verdict = await play.simulator.verdict()
    assert (verdict["identifies"], verdict["resumes"], verdict["violations"]) == (2, 1, [])


async def test_a_worker_whose_first_gateway_is_not_trusted_ends_and_names_the_setting(
    broker_url: str, namespace: str, names: Names
) -> None:
    coordinator = HandCoordinator(broker_url, names)
    coordinator.gateway_url = "ws://127.0.0.1:9"  # with Discord's REST API nothing there is trusted
    environment = {**os.environ, "AMQP_URL": broker_url, "DISCORD_TOKEN": SIMULATOR_TOKEN, "GW_NAMESPACE": namespace}
    environment.pop("GW_REST_URL", None)
    async with coordinator.running(), asyncio.timeout(120):
        worker = await asyncio.create_subprocess_exec(
            *(program("gw-worker"), "--shards", "0-1"), env=environment, stderr=asyncio.subprocess.PIPE
        )
        _, said = await worker.communicate()
    assert worker.returncode == EXIT_USAGE
    assert "'ws://127.0.0.1:9'" in said.decode()
    assert "--rest-url (GW_REST_URL)" in said.decode()
    assert "Traceback" not in said.decode()


def test_a_hand_over_is_over_before_the_coordinator_forgets_it() -> None:
    assert hand_over.LONGEST_S < hand_over_book.EXPIRE_S


async def test_gateway_commands_during_a_drain_get_a_typed_answer(play: Play, broker_url: str, names: Names) -> None:
    play.coordinator.answers_releases.set()
    link = Link(Broker(broker_url), name="commands")
    rpc = RpcClient(link)
    await link.open(timeout_s=30)
    command = messages.encode(
        messages.GatewayCommand(shard=0, op=3, d={"since": None, "activities": [], "status": "online", "afk": False})
    )
    answers: list[str] = []
    stopping = asyncio.create_task(play.fleet.supervisor.stop(play.fleet.workers, timeout_s=60))
    try:
        while not stopping.done():
            answers.append(await _answer(rpc, names, command))
        assert await _answer(rpc, names, command) == "no_holder"
    finally:
        await stopping
        await link.close()
    assert set(answers) <= {"sent", "not_ready", "no_holder", "rate_limited"}
    assert {one.shard for one in play.coordinator.of(messages.Release)} == {0, 1}  # one that got no reply comes again


async def _answer(rpc: RpcClient, names: Names, command: bytes) -> str:
    """What the sender of a command hears; RpcTimeoutError if nothing."""
    try:
        reply = await rpc.call(exchange=names.shard, routing_key="0", body=command, timeout_s=10)
    except UnroutableError:
        return str(messages.ErrorCode.NO_HOLDER)
    decoded = messages.decode(messages.command_reply, reply)
    return str(decoded.code) if isinstance(decoded, messages.Failure) else decoded.kind
