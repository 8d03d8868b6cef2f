"""What the coordinator's tests stand on: real gw-coordinator processes, workers by hand, a stand-in for gateway/bot."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
from aiohttp import web

from eventbus import messages
from eventbus.amqp.broker import Broker, connect
from eventbus.amqp.link import Link
from eventbus.amqp.rpc import RpcClient
from eventbus.coordinator_client import CoordinatorClient
from eventbus.names import Names
from tests.forge import Forge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

BOT_TOKEN = "bot.token.of-the-tests"
PATIENCE_S = 60.0


async def until(is_so: Callable[[], Awaitable[Any]], *, timeout_s: float = PATIENCE_S, step_s: float = 0.05) -> Any:
    """Wait until `is_so()` gives something true, and return it."""
    async with asyncio.timeout(timeout_s):
        while not (result := await is_so()):  # noqa: ASYNC110 - a question to another process
            await asyncio.sleep(step_s)
    return result


class DiscordStandIn:
    """gateway/bot on loopback; `answer`, `status` and `headers` may be changed, `asked_count` counts."""

    def __init__(self, *, shards: int = 4, max_concurrency: int = 1, remaining: int = 1000) -> None:
        limit = {"total": 1000, "remaining": remaining, "reset_after": 3_600_000, "max_concurrency": max_concurrency}
        self.answer: Any = {"url": "ws://127.0.0.1:9/", "shards": shards, "session_start_limit": limit}
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked_count = 0
        self.url = ""

    async def _gateway_bot(self, request: web.Request) -> web.StreamResponse:
        self.asked_count += 1
        if request.headers.get("Authorization") != f"Bot {BOT_TOKEN}":
            return web.json_response({"message": "401: Unauthorized", "code": 0}, status=401)
        if isinstance(self.answer, str):
            return web.Response(text=self.answer, status=self.status, headers=self.headers)
        return web.json_response(self.answer, status=self.status, headers=self.headers)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[DiscordStandIn]:
        """Serve on a free port."""
        app = web.Application()
        app.router.add_get("/api/v10/gateway/bot", self._gateway_bot)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/api/v10"
        try:
            yield self
        finally:
            await runner.cleanup()


class CoordinatorProcess:
    """A gw-coordinator of its own."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        """Start with only `environment` (and what Python needs) set."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
        full = kept | {"GW_LOG_FORMAT": "json"} | environment
        self._log_file = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
        self._whole_log = ""
        with Path(os.devnull).open("wb") as nowhere:
            out, err = nowhere.fileno(), self._log_file.fileno()
            self._process = Forge.shared().start("gw-coordinator", arguments, full, out=out, err=err)

    @property
    def log(self) -> str:
        """What it wrote to standard error so far."""
        if self._log_file.closed:
            return self._whole_log
        file = self._log_file.fileno()
        return os.pread(file, os.fstat(file).st_size, 0).decode()  # the process writes at the offset of the file

    @property
    def sentences(self) -> list[str]:
        """What it said to its user, without the log."""
        return [line for line in self.log.splitlines() if not line.startswith("{")]

    async def logged(self, action: str) -> None:
        """Wait until an entry with `action` is in the log."""

        async def is_logged() -> bool:
            assert self._process.poll() is None, self.log
            return f'"action":"{action}"' in self.log

        await until(is_logged)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def wait(self) -> int:
        """The exit code."""
        async with asyncio.timeout(PATIENCE_S):
            while (code := self._process.poll()) is None:  # noqa: ASYNC110 - a process
                await asyncio.sleep(0.02)
        self._whole_log = self.log
        self._log_file.close()
        return code

    async def end(self) -> None:
        """Make sure that it is gone."""
        self._process.kill()
        await self.wait()


class HandWorker:
    """A worker by hand: the control connection and the publishing connection, each with its queue."""

    def __init__(self, url: str, namespace: str, worker_id: str) -> None:
        self.id = worker_id
        self.names = Names(namespace)
        self._broker = Broker(url)
        self._link = Link(self._broker, name=f"{worker_id} control")
        self.rpc = RpcClient(self._link)
        self.coordinator = CoordinatorClient(self.rpc, self.names)
        self._publishing: AbstractConnection | None = None
        self._publish_channel: AbstractChannel | None = None
        self._queue: AbstractQueue | None = None
        self.inbox: asyncio.Queue[messages.InboxMessage] = asyncio.Queue()
        self.held: dict[int, messages.HeldLease] = {}
        self._link.on_connect(self._open_inbox)

    async def open(self) -> HandWorker:
        await self.open_publishing()
        await self._link.open(timeout_s=PATIENCE_S)
        return self

    async def open_publishing(self) -> None:
        self._publishing = await connect(self._broker, name=f"{self.id} publishing")
        channel = await self._publishing.channel()
        await channel.declare_exchange(self.names.holder, type="direct", durable=True)
        self._queue = await channel.declare_queue(
            self.names.worker(self.id), exclusive=True, arguments={"x-max-length": 1}
        )
        self._publish_channel = channel

    async def _open_inbox(self, connection: AbstractConnection) -> None:
        channel = await connection.channel()
        await channel.declare_exchange(self.names.control, type="topic", durable=True)
        queue = await channel.declare_queue(self.names.inbox(self.id), exclusive=True, auto_delete=True)
        await queue.bind(self.names.control, messages.ROLL_CALL_KEY)

        async def take(message: AbstractIncomingMessage) -> None:
            if message.body:  # else a ping
                await self.inbox.put(messages.decode(messages.inbox_message, message.body))

        await queue.consume(take, no_ack=True)

    # What a worker says

    async def register(self, shards: str, *, capacity: int | None = None) -> messages.Leases:
        request = messages.Register(worker_id=self.id, shards=shards, capacity=capacity, held=tuple(self.held.values()))
        return await self.coordinator.call_until(request, messages.Leases, timeout_s=PATIENCE_S)

    async def renew(self) -> messages.Leases:
        request = messages.Renew(worker_id=self.id, held=tuple(self.held.values()))
        return await self.coordinator.call(request, messages.Leases)

    async def leave(self) -> None:
        await self.coordinator.call(messages.Leave(worker_id=self.id), messages.Done)

    async def release(self, shard: int, session: messages.Session | None = None) -> None:
        await self.unbind(shard)
        token = self.held.pop(shard).fencing_token
        await self.coordinator.call(
            messages.Release(worker_id=self.id, shard=shard, fencing_token=token, session=session), messages.Done
        )

    async def identify(
        self, shard: int, *, recovery: bool = False, valid_s: float = messages.PERMIT_VALID_S
    ) -> messages.IdentifyPermit:
        request = messages.IdentifyRequest(
            worker_id=self.id,
            shard=shard,
            fencing_token=self.held[shard].fencing_token,
            recovery=recovery,
            valid_s=valid_s,
        )
        return await self.coordinator.call(request, messages.IdentifyPermit)

    async def hold(self, *shards: int) -> dict[int, messages.Lease]:
        """Renew until all of `shards` are granted, and bind them."""

        async def granted() -> dict[int, messages.Lease] | None:
            leases = {lease.shard: lease for lease in (await self.renew()).leases}
            return leases if set(shards) <= set(leases) else None

        leases: dict[int, messages.Lease] = await until(granted)
        for shard in shards:
            await self.bind(shard)
            lease = leases[shard]
            self.held[shard] = messages.HeldLease(
                shard=shard, fencing_token=lease.fencing_token, session=lease.session, state="connected"
            )
        await self.renew()
        return leases

    # What the broker sees of it

    async def bind(self, shard: int) -> None:
        assert self._queue is not None
        await self._queue.bind(self.names.holder, str(shard))

    async def unbind(self, shard: int) -> None:
        assert self._queue is not None
        await self._queue.unbind(self.names.holder, str(shard))

    async def close_publishing(self) -> None:
        assert self._publishing is not None
        await self._publishing.close()

    async def close_control(self) -> None:
        await self._link.close()

    async def die(self) -> None:
        """Both connections go, nothing is said."""
        await self.close_publishing()
        await self.close_control()


class Rig:
    """One namespace: starts coordinators and workers, ends them all."""

    def __init__(self, url: str, namespace: str, discord: DiscordStandIn) -> None:
        self.url = url
        self.namespace = namespace
        self.discord = discord
        self._ending = contextlib.AsyncExitStack()

    @property
    def environment(self) -> dict[str, str]:
        """What a coordinator needs."""
        return {
            "AMQP_URL": self.url,
            "GW_NAMESPACE": self.namespace,
            "DISCORD_TOKEN": BOT_TOKEN,
            "GW_REST_URL": self.discord.url,
        }

    async def coordinator(self, *arguments: str, **environment: str) -> CoordinatorProcess:
        process = CoordinatorProcess(*arguments, **(self.environment | environment))
        self._ending.push_async_callback(process.end)
        return process

    async def leader(self, *arguments: str, **environment: str) -> CoordinatorProcess:
        """A coordinator that leads and grants."""
        process = await self.coordinator(*arguments, **environment)
        await process.logged("granting")
        return process

    async def worker(self, worker_id: str) -> HandWorker:
        worker = await HandWorker(self.url, self.namespace, worker_id).open()
        self._ending.push_async_callback(worker.die)
        return worker

    async def raw_call(self, sender: HandWorker, body: bytes) -> messages.Message:
        """The reply to any body."""
        reply = await sender.rpc.call(exchange="", routing_key=sender.names.coordinator, body=body, timeout_s=5.0)
        return messages.decode(messages.coordinator_reply, reply)

    async def listen(self, key: str) -> asyncio.Queue[Any]:
        """The control events whose routing key matches `key` from now on."""
        connection = await aio_pika.connect(self.url)
        self._ending.push_async_callback(connection.close)
        channel = await connection.channel()
        exchange = await channel.declare_exchange(Names(self.namespace).control, type="topic", durable=True)
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(exchange, key)
        heard: asyncio.Queue[Any] = asyncio.Queue()

        async def take(message: AbstractIncomingMessage) -> None:
            await heard.put(messages.decode(messages.control_event, message.body))

        await queue.consume(take, no_ack=True)
        return heard

    async def close(self) -> None:
        await self._ending.aclose()
        connection = await aio_pika.connect(self.url)
        async with connection:
            channel = await connection.channel()
            await channel.queue_delete(Names(self.namespace).coordinator)
            for exchange in (Names(self.namespace).control, Names(self.namespace).holder):
                await channel.exchange_delete(exchange)


@contextlib.asynccontextmanager
async def rig(url: str, namespace: str, discord: DiscordStandIn | None = None) -> AsyncIterator[Rig]:
    """A Rig with its stand-in for Discord."""
    async with (discord or DiscordStandIn()).running() as stand_in:
        tested = Rig(url, namespace, stand_in)
        try:
            yield tested
        finally:
            await tested.close()
