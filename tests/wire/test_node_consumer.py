"""The consumer in Node, run for real: that docs/wire.md alone is enough to write one in another language."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aiohttp import web

from eventbus.amqp.broker import Broker
from eventbus.amqp.publish_connection import PublishConnection
from eventbus.amqp.publish_frames import PublishTemplate
from tests.waiting import eventually
from tests.wire.node_rig import (
    EXAMPLE,
    GROUP,
    INSTALL_TIMEOUT_S,
    PATIENCE_S,
    SESSION,
    Bench,
    install_packages,
    message_create,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aio_pika.abc import AbstractIncomingMessage

    from tests.tcp_proxy import TcpProxy

CONNECT_TIMEOUT_S = 10

pytestmark = pytest.mark.timeout(INSTALL_TIMEOUT_S + 120)

# Says that it began, and ends when the file that RELEASE names is there.
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
    install_packages()


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
    lost: list[tuple[int, int, bool, bool]] = []
    confirmed = asyncio.Event()
    worker = await PublishConnection.open(
        Broker(bench.url),
        name="a worker",
        on_confirm=lambda *confirm: confirmed.set() if confirm[-1] else lost.append(confirm),
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
    left: list[AbstractIncomingMessage] = []

    async def has_come_back() -> bool:  # once the broker has noticed the end of its connection
        left.extend(await bench.left_over())
        return bool(left)

    await eventually(has_come_back)
    assert [message.redelivered for message in left] == [True]


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
