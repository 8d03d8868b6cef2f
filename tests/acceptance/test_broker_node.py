"""The private RabbitMQ node, with real processes: what it promises to gw-run, the tests and the benchmarks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import aio_pika
import pytest
import pytest_asyncio

from ops.broker_folder import BrokerFolder
from ops.broker_node import BrokerNode
from ops.errors import BrokerDirectoryError, BrokerMissingError, BrokerUnavailableError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ops.broker_config import BrokerIdentity

    RunModule = Callable[..., Awaitable[Process]]

CONNECT_TIMEOUT_S = 10
WAIT_S = 90
"""A start of RabbitMQ takes 5 s, and 30 s where three others start beside it on two slow cores."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("broker") / "shared node"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(folder: Path) -> AsyncIterator[BrokerNode]:
    """A node for the tests that leave it running."""
    async with BrokerNode(folder, plugins=["rabbitmq_prometheus"]) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def own_node(tmp_path: Path) -> AsyncIterator[BrokerNode]:
    """A node for a test that stops or kills it."""
    async with BrokerNode(tmp_path / "own node") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def run_module() -> AsyncIterator[RunModule]:
    """Starts `python -m ops.broker_node`; what a failed test left running is killed."""
    started: list[Process] = []

    async def run(directory: Path, *options: str, environment: dict[str, str] | None = None) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "ops.broker_node", "--directory", str(directory), *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            cwd=Path(__file__).parents[2],
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - files and processes send no event
            await asyncio.sleep(0.05)


async def until_queue_survives_a_kill(directory: Path, queue: str) -> None:
    """RabbitMQ writes a new quorum queue's name down after about half a second: killed before, it forgets the queue."""
    await eventually(lambda: any(queue.encode() in path.read_bytes() for path in directory.rglob("names.dets")))


async def publish_durably(url: str, queue: str, body: bytes) -> None:
    async with await aio_pika.connect(url, timeout=CONNECT_TIMEOUT_S) as connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key=queue, timeout=CONNECT_TIMEOUT_S)


async def take_one(url: str, queue: str) -> bytes:
    async with await aio_pika.connect(url, timeout=CONNECT_TIMEOUT_S) as connection:
        channel = await connection.channel()
        declared = await channel.declare_queue(queue, durable=True, passive=True)
        message = await declared.get(timeout=CONNECT_TIMEOUT_S)
        await message.ack()
        return message.body


async def read_line(process: Process) -> dict[str, object]:
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        line = await process.stdout.readline()
    return dict(json.loads(line))


def processes_that_mention(text: str) -> set[int]:
    """Every living process whose environment or command line holds the text."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        if text.encode() in told:
            found.add(int(folder.name))
    return found


async def until_no_process_mentions(text: str) -> None:
    await eventually(lambda: not processes_that_mention(text))


@pytest.mark.long
async def test_a_second_node_runs_beside_the_first(node: BrokerNode, tmp_path: Path) -> None:
    async with BrokerNode(tmp_path / "node") as second:
        await publish_durably(node.url, "mine", b"first")
        await publish_durably(second.url, "mine", b"second")
        assert await take_one(node.url, "mine") == b"first"
        assert await take_one(second.url, "mine") == b"second"
        assert (node.node_name, node.pid) != (second.node_name, second.pid)


async def test_a_killed_node_comes_back_with_its_messages_and_its_url(own_node: BrokerNode, tmp_path: Path) -> None:
    url, killed_pid = own_node.url, own_node.pid
    await publish_durably(url, "kept", b"survivor")
    await until_queue_survives_a_kill(tmp_path, "kept")
    await own_node.kill()
    assert not own_node.is_running
    assert await own_node.wait() == -signal.SIGKILL
    await own_node.start()
    assert (own_node.url, own_node.is_running) == (url, True)
    assert own_node.pid != killed_pid
    assert await take_one(url, "kept") == b"survivor"


async def test_a_restarted_node_keeps_its_messages_and_a_stopped_one_leaves_no_process(
    own_node: BrokerNode, tmp_path: Path
) -> None:
    url = own_node.url
    await publish_durably(url, "kept", b"survivor")
    await own_node.restart()
    assert own_node.url == url
    assert await take_one(url, "kept") == b"survivor"
    assert processes_that_mention(str(tmp_path))
    await own_node.stop()
    assert await own_node.wait() == 0
    await until_no_process_mentions(str(tmp_path))


async def test_guest_is_refused(node: BrokerNode) -> None:
    with pytest.raises(aio_pika.exceptions.ProbableAuthenticationError):
        await aio_pika.connect(f"amqp://guest:guest@127.0.0.1:{node.port}/", timeout=CONNECT_TIMEOUT_S)


async def test_its_secrets_are_readable_by_their_owner_only(node: BrokerNode, folder: Path) -> None:
    password = node.url.split(":")[2].split("@")[0].encode()
    secrets = files_that_hold(folder, password) | {folder / ".erlang.cookie"}
    assert {path.name: stat.S_IMODE(path.stat().st_mode) & 0o077 for path in secrets} == {
        "node.json": 0,
        "rabbitmq.conf": 0,
        ".erlang.cookie": 0,
    }


def files_that_hold(folder: Path, text: bytes) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()}


async def test_it_listens_on_loopback_only(node: BrokerNode) -> None:
    assert node.pid is not None
    assert await asyncio.to_thread(listening_addresses, node.pid) == {"127.0.0.1"}


def listening_addresses(pid: int) -> set[str]:
    """IPv4 and IPv6 addresses on which the process listens, from /proc; IPv6 ones as hexadecimal."""
    inodes = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                address = fields[1].split(":")[0]
                raw = bytes.fromhex(address)[::-1]
                addresses.add(socket.inet_ntoa(raw) if table == "tcp" else address)
    return addresses


@pytest.mark.long
async def test_it_ignores_the_settings_of_a_system_wide_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ_NODENAME", "rabbit@elsewhere")
    monkeypatch.setenv("RABBITMQ_NODE_PORT", "5672")
    monkeypatch.setenv("RABBITMQ_CONFIG_FILE", "/nowhere/rabbitmq.conf")
    async with BrokerNode(tmp_path) as node:
        assert node.node_name in await node.ctl("eval", "node().")


async def test_a_plugin_gets_a_port_of_its_own(node: BrokerNode) -> None:
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.plugin_port("rabbitmq_prometheus"))
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b"200 OK" in await reader.readline()
        writer.transport.abort()


@pytest.mark.usefixtures("node")
async def test_a_folder_is_used_by_one_node_at_a_time(folder: Path) -> None:
    with pytest.raises(BrokerDirectoryError, match="Another process runs a broker in"):
        await BrokerNode(folder).start()


async def test_a_taken_port_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BrokerUnavailableError, match=f"^Port {port} on 127.0.0.1 is taken"):
            await BrokerNode(tmp_path, port=port).start()


async def test_a_folder_without_its_password_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "data" / "relay-00000000@localhost").mkdir(parents=True)
    with pytest.raises(BrokerDirectoryError, match=r"put node\.json back"):
        await BrokerNode(tmp_path).start()
    assert not processes_that_mention(str(tmp_path))


async def test_a_start_that_takes_too_long_leaves_no_process(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailableError, match="not ready within"):
        await BrokerNode(tmp_path / "slow").start(timeout_s=0.5)
    await until_no_process_mentions(str(tmp_path / "slow"))


async def test_a_port_that_is_taken_just_before_the_start_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare = BrokerFolder.prepare
    with socket.socket() as thief:

        def robbed(folder: BrokerFolder, known: BrokerIdentity | None) -> BrokerIdentity:
            identity = prepare(folder, known)
            if not thief.getsockname()[1]:
                thief.bind(("127.0.0.1", identity.port))
                thief.listen()
            return identity

        monkeypatch.setattr(BrokerFolder, "prepare", robbed)
        async with BrokerNode(tmp_path) as node:
            assert node.port != thief.getsockname()[1]
            await publish_durably(node.url, "any", b"body")


async def test_the_module_prints_its_url_and_stops_on_sigterm(tmp_path: Path, run_module: RunModule) -> None:
    process = await run_module(tmp_path)
    told = await read_line(process)
    await publish_durably(str(told["url"]), "any", b"body")
    process.terminate()
    async with asyncio.timeout(WAIT_S):
        assert await process.wait() == 0
    await until_no_process_mentions(str(tmp_path))


@pytest.mark.long
async def test_node_and_epmd_die_with_a_killed_parent_and_the_data_stay(tmp_path: Path, run_module: RunModule) -> None:
    process = await run_module(tmp_path)
    told = await read_line(process)
    await publish_durably(str(told["url"]), "kept", b"survivor")
    await until_queue_survives_a_kill(tmp_path, "kept")
    assert len(processes_that_mention(str(tmp_path))) > 2  # the module, the node and its epmd
    process.kill()
    await process.wait()
    await until_no_process_mentions(str(tmp_path))
    async with BrokerNode(tmp_path) as successor:
        assert successor.url == told["url"]
        assert await take_one(successor.url, "kept") == b"survivor"


async def test_a_parent_killed_while_the_node_starts_leaves_nothing_behind(
    tmp_path: Path, run_module: RunModule
) -> None:
    process = await run_module(tmp_path)
    await eventually(lambda: list(tmp_path.glob("data/*")))
    process.kill()
    await process.wait()
    await until_no_process_mentions(str(tmp_path))


@pytest.mark.long
async def test_the_module_says_so_when_the_node_ends_by_itself(tmp_path: Path, run_module: RunModule) -> None:
    process = await run_module(tmp_path)
    told = await read_line(process)
    os.kill(int(str(told["pid"])), signal.SIGKILL)
    async with asyncio.timeout(WAIT_S):
        _, complaint = await process.communicate()
    assert process.returncode == 1
    assert complaint.decode().startswith("RabbitMQ ended by itself: see the logs in")


async def test_ctrl_c_in_the_terminal_does_not_reach_the_node(node: BrokerNode) -> None:
    assert node.pid is not None
    assert os.getsid(node.pid) != os.getsid(0)


async def test_without_rabbitmq_one_sentence_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ops.broker_node.DEBIAN_SCRIPTS", tmp_path / "nothing")
    monkeypatch.setattr("ops.broker_node.SYSTEM_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BrokerMissingError) as caught:
        await BrokerNode(tmp_path / "node").start()
    assert str(caught.value).count(".") == 1
    assert "sudo apt-get install rabbitmq-server" in str(caught.value)
    assert "AMQP_URL" in str(caught.value)
