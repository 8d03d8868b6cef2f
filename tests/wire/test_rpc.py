"""Requests and replies over a real broker: every outcome is typed, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import orjson
import pytest
from aio_pika import Message

from eventbus import messages
from eventbus.amqp import rpc as rpc_module
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient, RpcServer
from eventbus.coordinator_client import CoordinatorClient
from eventbus.errors import BrokerLostError, RelayError, RemoteError, RpcTimeoutError, UnroutableError
from eventbus.messages import ErrorCode
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aio_pika.abc import AbstractChannel, AbstractQueue

    from eventbus.amqp.broker import Broker
    from eventbus.names import Names
    from tests.tcp_proxy import TcpProxy

    Handle = Callable[[bytes], Awaitable[messages.Message]]

TIMEOUT_S = 15
CONFIG = messages.BotConfig(shard_count=4, intents=1, gateway_url="wss://gateway", max_concurrency=1)


class Side:
    """A link with its task; a client's or a server's."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.link = Link(broker, name=name)
        self.tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self.link.open(timeout_s=TIMEOUT_S)
        self.tasks.append(asyncio.create_task(self.link.keep()))

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.link.close()


@pytest.fixture
async def client_side(broker: Broker) -> AsyncIterator[tuple[Side, RpcClient]]:
    side = Side(broker, "client")
    rpc = RpcClient(side.link)
    await side.start()
    yield side, rpc
    await side.stop()


@pytest.fixture
def rpc(client_side: tuple[Side, RpcClient]) -> RpcClient:
    return client_side[1]


@contextlib.asynccontextmanager
async def serving(broker: Broker, queue: str, handle: Handle, *, prefetch: int = 64) -> AsyncIterator[Side]:
    async def declare(channel: AbstractChannel) -> AbstractQueue:
        return await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})

    side = Side(broker, "server")
    server = RpcServer(side.link, declare=declare, handle=handle, prefetch=prefetch)
    await side.start()
    side.tasks.append(asyncio.create_task(server.serve()))
    try:
        yield side
    finally:
        await side.stop()


async def call(rpc: RpcClient, names: Names, body: bytes = b"{}", timeout_s: float = 5.0) -> bytes:
    return await rpc.call(exchange="", routing_key=names.coordinator, body=body, timeout_s=timeout_s)


async def done(_: bytes) -> messages.Message:
    return messages.Done()


async def never(_: bytes) -> messages.Message:
    await asyncio.Event().wait()
    return messages.Done()


async def echo(body: bytes) -> messages.Message:
    return messages.Failure(code=ErrorCode.INTERNAL, message=body.decode())


async def test_a_request_gets_its_reply(broker: Broker, rpc: RpcClient, names: Names) -> None:
    async with serving(broker, names.coordinator, done):
        assert orjson.loads(await call(rpc, names)) == {"v": 1, "kind": "done"}


async def test_requests_at_once_get_their_own_replies(broker: Broker, rpc: RpcClient, names: Names) -> None:
    async with serving(broker, names.coordinator, echo):
        bodies = [f"request {number}" for number in range(100)]
        replies = await asyncio.gather(*(call(rpc, names, body.encode()) for body in bodies))
        assert [orjson.loads(reply)["message"] for reply in replies] == bodies


async def test_a_request_that_nobody_takes_fails_at_once(rpc: RpcClient, names: Names) -> None:
    async with asyncio.timeout(3):
        with pytest.raises(UnroutableError, match=f"nobody takes messages for '{names.coordinator}'"):
            await call(rpc, names, timeout_s=60)


async def test_two_unroutable_requests_at_once_both_fail_and_a_third_is_answered(
    broker: Broker, rpc: RpcClient, names: Names
) -> None:
    async with serving(broker, names.coordinator, done):
        nobody = [
            rpc.call(exchange="", routing_key="nobody", body=b"{}", timeout_s=5),
            rpc.call(exchange="", routing_key="nobody", body=b"{}", timeout_s=5),
        ]
        first, second, third = await asyncio.gather(*nobody, call(rpc, names), return_exceptions=True)
        assert isinstance(first, UnroutableError)
        assert isinstance(second, UnroutableError)
        assert isinstance(third, bytes)


async def test_no_reply_in_time_is_a_timeout(broker: Broker, rpc: RpcClient, names: Names) -> None:
    async with serving(broker, names.coordinator, never):
        with pytest.raises(RpcTimeoutError, match=r"within 0\.3 s"):
            await call(rpc, names, timeout_s=0.3)


async def test_a_request_that_waited_too_long_is_not_carried_out_later(
    broker: Broker, rpc: RpcClient, names: Names, observer: AbstractChannel
) -> None:
    await observer.declare_queue(names.coordinator, durable=True, arguments={"x-queue-type": "quorum"})
    with pytest.raises(RpcTimeoutError):
        await call(rpc, names, b"stale", timeout_s=0.2)
    await asyncio.sleep(1)  # its time to live begins when the broker has it
    seen = []

    async def remember(body: bytes) -> messages.Message:
        seen.append(body)
        return messages.Done()

    async with serving(broker, names.coordinator, remember):
        await call(rpc, names, b"fresh")
    assert seen == [b"fresh"]


async def test_a_malformed_request_gets_a_typed_failure(broker: Broker, rpc: RpcClient, names: Names) -> None:
    async def decode(body: bytes) -> messages.Message:
        messages.decode(messages.coordinator_request, body)
        return messages.Done()

    async with serving(broker, names.coordinator, decode):
        for body, code in [
            (b"no json", "bad_request"),
            (b'{"v":2,"kind":"config"}', "unknown_version"),
            (b'{"v":1,"kind":"nothing"}', "bad_request"),
        ]:
            assert orjson.loads(await call(rpc, names, body))["code"] == code
        assert orjson.loads(await call(rpc, names, b'{"v":1,"kind":"config"}'))["kind"] == "done"


async def test_a_handler_that_raises_answers_internal_and_the_next_request_works(
    broker: Broker, rpc: RpcClient, names: Names
) -> None:
    async def fail_on_bad(body: bytes) -> messages.Message:
        if body == b"bad":
            raise ZeroDivisionError("by zero")
        return messages.Done()

    async with serving(broker, names.coordinator, fail_on_bad):
        failure = orjson.loads(await call(rpc, names, b"bad"))
        assert (failure["code"], failure["message"]) == ("internal", "the request failed: by zero")
        assert orjson.loads(await call(rpc, names, b"good"))["kind"] == "done"


async def test_requests_without_reply_or_with_a_vanished_one_do_not_stop_the_server(
    broker: Broker, rpc: RpcClient, names: Names, observer: AbstractChannel
) -> None:
    async with serving(broker, names.coordinator, done):
        for reply_to in (None, "no-such-queue"):
            message = Message(b"{}", reply_to=reply_to, correlation_id="1")
            await observer.default_exchange.publish(message, names.coordinator)
        assert await call(rpc, names)


async def test_a_reply_to_an_unknown_request_is_ignored(broker: Broker, rpc: RpcClient, names: Names) -> None:
    async with serving(broker, names.coordinator, never):
        with pytest.raises(RpcTimeoutError):
            await call(rpc, names, timeout_s=0.2)
    async with serving(broker, names.coordinator, done):
        assert await call(rpc, names)


async def test_a_broker_cut_off_while_a_reply_is_awaited_is_said_to_be_lost(
    broker: Broker, rpc: RpcClient, names: Names, proxy: TcpProxy
) -> None:
    async with serving(broker, names.coordinator, never):
        calling = asyncio.create_task(call(rpc, names, timeout_s=10))
        await asyncio.sleep(0.2)
        proxy.cut()
        async with asyncio.timeout(8):
            with pytest.raises(BrokerLostError):
                await calling


async def test_a_broker_cut_off_in_the_middle_of_a_publish_cancels_nobody(
    rpc: RpcClient, names: Names, proxy: TcpProxy
) -> None:
    proxy.stall()
    calling = asyncio.create_task(call(rpc, names, timeout_s=5))
    await asyncio.sleep(0.1)
    proxy.cut()
    proxy.resume()
    await asyncio.wait([calling], timeout=TIMEOUT_S)
    assert calling.done()
    assert not calling.cancelled()
    assert isinstance(calling.exception(), BrokerLostError | RpcTimeoutError)


async def test_calls_fail_while_the_broker_is_away_and_work_when_it_is_back(
    broker: Broker, client_side: tuple[Side, RpcClient], names: Names, proxy: TcpProxy
) -> None:
    side, rpc = client_side
    async with serving(broker, names.coordinator, done) as server:
        proxy.refuse()
        await eventually(lambda: not side.link.is_up.is_set())
        with pytest.raises(BrokerLostError):
            await call(rpc, names)
        proxy.accept()
        await eventually(lambda: side.link.is_up.is_set() and server.link.is_up.is_set())
        assert orjson.loads(await call(rpc, names))["kind"] == "done"


async def test_a_request_cut_off_in_the_middle_is_carried_out_by_the_next_server(
    broker: Broker, rpc: RpcClient, names: Names, proxy: TcpProxy
) -> None:
    seen = []

    async def slow_first(body: bytes) -> messages.Message:
        seen.append(body)
        if len(seen) == 1:
            proxy.cut()
            await asyncio.sleep(0.3)
        return messages.Done()

    async with serving(broker, names.coordinator, slow_first):
        with contextlib.suppress(BrokerLostError, RpcTimeoutError):
            await call(rpc, names, b"once", timeout_s=5)
        await eventually(lambda: len(seen) == 2)
        assert seen == [b"once", b"once"]


# The coordinator's client


@pytest.fixture
def coordinator(rpc: RpcClient, names: Names) -> CoordinatorClient:
    return CoordinatorClient(rpc, names)


async def test_a_refusal_is_raised_with_its_code(broker: Broker, coordinator: CoordinatorClient, names: Names) -> None:
    async def refuse(_: bytes) -> messages.Message:
        return messages.Failure(code=ErrorCode.STALE_LEASE, message="stale", retry_after_s=2.5)

    async with serving(broker, names.coordinator, refuse):
        with pytest.raises(RemoteError, match="stale") as caught:
            await coordinator.state()
        assert (caught.value.code, caught.value.retry_after_s) == (ErrorCode.STALE_LEASE, 2.5)


async def test_an_answer_of_another_kind_is_refused(
    broker: Broker, coordinator: CoordinatorClient, names: Names
) -> None:
    async with serving(broker, names.coordinator, done):
        with pytest.raises(RemoteError, match="answered 'done' unexpectedly"):
            await coordinator.state()


async def test_a_coordinator_that_answers_nonsense_is_an_error_with_a_type(
    coordinator: CoordinatorClient, names: Names, observer: AbstractChannel
) -> None:
    queue = await observer.declare_queue(names.coordinator, exclusive=True)

    async def answer(request: object) -> None:
        body = Message(b"nonsense", correlation_id=request.correlation_id)  # type: ignore[attr-defined]
        await observer.default_exchange.publish(body, request.reply_to)  # type: ignore[attr-defined]

    await queue.consume(answer, no_ack=True)
    with pytest.raises(RemoteError):
        await coordinator.state()


async def test_a_coordinator_that_is_not_ready_is_asked_again(
    broker: Broker, coordinator: CoordinatorClient, names: Names
) -> None:
    asked = []

    async def ready_at_third(body: bytes) -> messages.Message:
        asked.append(body)
        if len(asked) < 3:
            return messages.Failure(code=ErrorCode.NOT_READY, message="learning")
        return messages.ConfigReply(config=CONFIG)

    async with serving(broker, names.coordinator, ready_at_third):
        assert await coordinator.config(timeout_s=TIMEOUT_S) == CONFIG


async def test_without_a_coordinator_one_sentence_says_what_to_start(coordinator: CoordinatorClient) -> None:
    with pytest.raises(RpcTimeoutError, match="start gw-coordinator"):
        await coordinator.config(timeout_s=0.2)


# What cannot be answered


async def test_a_reply_that_cannot_be_sent_does_not_keep_the_next_request_away(
    broker: Broker, rpc: RpcClient, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unsendable(*_: object) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(rpc_module, "_send_reply", unsendable)
        patched.setattr(rpc_module, "PUBLISH_TIMEOUT_S", 1.0)
        async with serving(broker, names.coordinator, done, prefetch=1):
            with pytest.raises(RpcTimeoutError):
                await call(rpc, names, timeout_s=2.0)
            patched.undo()
            assert orjson.loads(await call(rpc, names))["kind"] == "done"


async def test_a_flood_of_malformed_requests_makes_one_log_line(
    broker: Broker, rpc: RpcClient, names: Names, caplog: pytest.LogCaptureFixture
) -> None:
    async def decode(body: bytes) -> messages.Message:
        messages.decode(messages.coordinator_request, body)
        return messages.Done()

    async with serving(broker, names.coordinator, decode):
        for _ in range(5):
            assert orjson.loads(await call(rpc, names, b"{}"))["code"] == "bad_request"
    assert [line.message for line in caplog.records].count("malformed request") == 1


async def test_a_server_whose_queue_is_deleted_serves_again(
    broker: Broker, rpc: RpcClient, names: Names, observer: AbstractChannel
) -> None:
    async with serving(broker, names.coordinator, done):
        await observer.queue_delete(names.coordinator)

        async def is_answered() -> bool:
            try:
                return bool(await call(rpc, names, timeout_s=2.0))
            except RelayError:
                return False

        await eventually(is_answered)
