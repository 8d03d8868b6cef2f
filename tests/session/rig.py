"""A worker's parts without the worker: shards against gw-sim, a real publisher, and a queue that records all."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import aio_pika
import aiohttp

from eventbus.amqp.broker import Broker
from eventbus.messages import BotConfig, Lease, Session
from eventbus.names import Names
from gateway_workers.inflate import Compression
from gateway_workers.presence_book import PresenceBook
from gateway_workers.publisher import DispatchPublisher
from gateway_workers.resume_url import TrustedGateways
from gateway_workers.shard import Shard, ShardState, ShardTools
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

    from tests.sim.conftest import Sim

TOKEN = "NDE5NDMwNDAwMDAwNzY5MjMy.simulated.for-sessions"
OPTIONS = (
    *("--token", TOKEN, "--guilds", "6", "--large-guilds", "0"),
    *("--max-concurrency", "16", "--identify-window-s", "0"),
)
BEAT_INTERVAL_MS = 500
INTENTS = 0b1_1111_1111_1111_1111
TIMEOUT_S = 40
TYPES = (
    *("READY", "RESUMED", "GUILD_CREATE", "MESSAGE_CREATE", "SOMETHING_NEW", "GUILD_MEMBERS_CHUNK", "RATE_LIMITED"),
    *("VOICE_STATE_UPDATE", "VOICE_SERVER_UPDATE", "TEST_EVENT", "CHANNEL_INFO", "SOUNDBOARD_SOUNDS"),
)


class Permits:
    """The test's own gate before each Identify."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.expired_count = 0
        self.closes_after_expired = False
        self.cancelled_count = 0
        self.defects: list[Exception] = []

    async def acquire(self, shard: int, fencing_token: int, *, recovery: bool) -> float:
        assert shard >= 0
        assert fencing_token > 0
        self.asked.append(recovery)
        if self.defects:
            raise self.defects.pop()
        try:
            await self.is_open.wait()
        except asyncio.CancelledError:
            self.cancelled_count += 1
            raise
        now = asyncio.get_running_loop().time()
        if self.expired_count:
            self.expired_count -= 1
            if self.closes_after_expired:
                self.is_open.clear()
            return now - 0.001
        return now + TIMEOUT_S


class Rig:
    """Starts shards, and keeps every message that their exchanges gave to a queue."""

    def __init__(self, sim: Sim, publisher: DispatchPublisher, http: aiohttp.ClientSession) -> None:
        self.sim = sim
        self.publisher = publisher
        self.permits = Permits()
        self.presences = PresenceBook()
        self.arrived: list[AbstractIncomingMessage] = []
        self.running: dict[Shard, asyncio.Task[None]] = {}
        self.before = sim.verdict()
        self._http = http
        self._next_token = 1

    # Shards

    def start(
        self,
        session: Session | None = None,
        *,
        shard: int = 0,
        shard_count: int = 1,
        compression: Compression = Compression.NONE,
        gateway_url: str = "",
        bot_token: str = TOKEN,
        intents: int = INTENTS,
    ) -> Shard:
        config = BotConfig(
            shard_count=shard_count,
            intents=intents,
            gateway_url=gateway_url or self.sim.gateway_url,
            max_concurrency=16,
        )
        tools = ShardTools(
            http=self._http,
            publisher=self.publisher,
            permits=self.permits,
            bot_token=bot_token,
            gateways=TrustedGateways(self.sim.rest_url),
            compression=compression,
            presences=self.presences,
        )
        lease = Lease(shard=shard, fencing_token=self._next_token, session=session)
        self._next_token += 1
        started = Shard(lease, config, tools)
        self.running[started] = asyncio.create_task(started.run(), name=f"shard {shard}")
        return started

    async def connected(self, shard: Shard, *, established: int = 1) -> str:
        """Wait until the shard's READY and RESUMED count `established` in the queue; its session id."""
        await eventually(lambda: self.running[shard].done() or shard.state is ShardState.CONNECTED)
        assert not self.running[shard].done(), self.running[shard]
        await eventually(lambda: self.established_count >= established and shard.state is ShardState.CONNECTED)
        session = shard.checkpoint()
        assert session is not None
        return session.session_id

    async def start_connected(self, session: Session | None = None, **options: Any) -> tuple[Shard, str]:
        before = self.established_count
        shard = self.start(session, **options)
        return shard, await self.connected(shard, established=before + 1)

    async def end(self, shard: Shard) -> BaseException | None:
        """How the shard's task ends by itself."""
        task = self.running.pop(shard)
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.wait([task])
        return None if task.cancelled() else task.exception()

    async def hand_over(self, shard: Shard) -> Session | None:
        async with asyncio.timeout(TIMEOUT_S):
            session = await shard.hand_over()
        await self.end(shard)
        return session

    async def close(self) -> None:
        self.sim.delete("/faults")
        self.sim.delete("/traffic")
        for shard in tuple(self.running):
            await self.hand_over(shard)

    # What arrived

    def of_type(self, event_type: str) -> list[AbstractIncomingMessage]:
        return [message for message in self.arrived if message.type == event_type]

    @property
    def established_count(self) -> int:
        return len(self.of_type("READY")) + len(self.of_type("RESUMED"))

    def ids(self) -> list[str]:
        return [message.message_id or "" for message in self.arrived]

    def sent_ids(self, *sessions: str) -> list[str]:
        """What the simulator's ledger says that these sessions were sent, without replays."""
        rows = self.sim.ledger(f"?after={self.before['sent'] + self.before['replayed']}")
        assert {row["type"] for row in rows} <= set(TYPES), "the rig listens to too few types"
        return [f"{row['session']}:{row['seq']}" for row in rows if row["session"] in sessions]

    async def all_arrived(self, *sessions: str) -> None:
        """Everything that was sent stands in the queue, in order; what is there twice is marked as replayed."""
        await eventually(lambda: set(self.sent_ids(*sessions)) <= set(self.ids()))
        sent, arrived = self.sent_ids(*sessions), self.ids()
        mine = [one for one in arrived if one.rpartition(":")[0] in sessions]
        assert list(dict.fromkeys(mine)) == sent
        first: set[str] = set()
        for message in self.arrived:
            assert message.message_id not in first or message.headers["replayed"] is True
            first.add(message.message_id or "")

    async def all_confirmed(self, *sessions: str) -> None:
        """As `all_arrived`, and the worker knows it."""
        await self.all_arrived(*sessions)
        await eventually(lambda: self.publisher.backlog[0] == 0)

    def repeated(self) -> list[str]:
        return [one for one, count in Counter(self.ids()).items() if count > 1]

    # What the simulator says

    def assert_no_violations(self) -> None:
        verdict = self.sim.verdict()
        assert verdict["violations"][len(self.before["violations"]) :] == []
        assert not {"client_closed_1000", "client_closed_1001"} & set(verdict["notes"])

    def counted(self, name: str) -> int:
        """How far a count of the verdict, or one of its notes, has grown since the rig began."""
        verdict = self.sim.verdict()
        values = {**verdict["notes"], **{key: value for key, value in verdict.items() if isinstance(value, int)}}
        former = {**self.before["notes"], **self.before}
        return int(values.get(name, 0)) - int(former.get(name, 0))

    def heartbeats(self) -> int:
        """How many the simulator has received from all its clients."""
        return int(self.sim.verdict()["gateway_commands"].get("1", 0))

    def session(self, session_id: str) -> dict[str, Any]:
        return next(one for one in self.sim.get("/sessions") if one["session"] == session_id)

    def send(self, count: int = 1, *, shard: int = 0) -> None:
        """Let Discord send `count` dispatches to the sessions of a shard."""
        for number in range(count):
            self.sim.post("/dispatch", {"type": "TEST_EVENT", "shard": shard, "data": {"n": number}})


@contextlib.asynccontextmanager
async def rig_of(
    sim: Sim,
    broker_url: str,
    namespace: str,
    *,
    publisher_url: str = "",
    max_count: int = 10_000,
    worker_id: str = "w",
) -> AsyncIterator[Rig]:
    """A rig; the publisher goes to `publisher_url` if that is given (a proxy), the recording queue never does."""
    names = Names(namespace)
    publisher = DispatchPublisher(
        Broker(publisher_url or broker_url), names, worker_id=worker_id, max_count=max_count, max_bytes=64 << 20
    )
    async with contextlib.AsyncExitStack() as stack:
        connection = await aio_pika.connect(broker_url, timeout=TIMEOUT_S)
        stack.push_async_callback(connection.close)
        http = await stack.enter_async_context(aiohttp.ClientSession())
        await publisher.open(timeout_s=TIMEOUT_S)
        stack.push_async_callback(publisher.close)
        keeping = asyncio.create_task(publisher.keep(_valid))
        stack.push_async_callback(_cancel, keeping)
        rig = Rig(sim, publisher, http)
        await _record(rig, await connection.channel(), names)
        stack.push_async_callback(rig.close)
        yield rig


async def _valid() -> None:
    """The leases of these tests are always valid."""


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


async def _record(rig: Rig, channel: AbstractChannel, names: Names) -> None:
    queue = await channel.declare_queue(exclusive=True)
    for event_type in TYPES:
        exchange = await channel.declare_exchange(names.event(event_type), type="topic", durable=True)
        await queue.bind(exchange, "#")

    async def take(message: AbstractIncomingMessage) -> None:
        rig.arrived.append(message)

    await queue.consume(take, no_ack=True)
