"""One shard under one lease: connects, resumes or identifies, publishes, hands its session over."""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from eventbus import gateway_payloads
from eventbus.errors import ConfigurationError, RelayError
from eventbus.messages import Checkpoint, CommandSent, ErrorCode, Failure, HeldLease, Lease, Session
from gateway_workers import payloads
from gateway_workers.close_codes import NextStep, advice
from gateway_workers.commands import ShardCommands
from gateway_workers.gateway_connection import End, GatewayConnection
from gateway_workers.gateway_socket import GatewaySocket, SocketClosedError, SocketUnansweredError
from gateway_workers.presence_book import PresenceBook
from gateway_workers.reconnect import Attempt, ReconnectPolicy
from gateway_workers.shard_presence import ShardPresence
from gateway_workers.shard_session import ShardSession

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import aiohttp

    from eventbus.messages import BotConfig
    from gateway_workers.inflate import Compression
    from gateway_workers.publisher import DispatchPublisher
    from gateway_workers.resume_url import TrustedGateways

_log = logging.getLogger(__name__)

T = TypeVar("T")

READY_TIMEOUT_S = 60.0
DRAIN_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 3.0


class ShardState(StrEnum):
    """Where a shard is in its life."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    IDENTIFYING = "identifying"
    RESUMING = "resuming"
    CONNECTED = "connected"
    CLOSED = "closed"


class IdentifyPermits(Protocol):
    """Leave to send an Identify."""

    async def acquire(self, shard: int, fencing_token: int, *, recovery: bool) -> float:
        """Wait for a permit; until when it may be used, on the event loop's clock."""
        ...


@dataclass(frozen=True, slots=True)
class ShardTools:
    """What all shards of a worker share."""

    http: aiohttp.ClientSession
    publisher: DispatchPublisher
    permits: IdentifyPermits
    bot_token: str
    gateways: TrustedGateways
    compression: Compression
    presences: PresenceBook = field(default_factory=PresenceBook)


class Shard:
    """Runs `lease` until `hand_over()` or `abandon()`; `run()` is its task.

    `run()` raises ConfigurationError if Discord refuses in a way that no reconnect can mend.
    """

    def __init__(self, lease: Lease, config: BotConfig, tools: ShardTools) -> None:
        self.lease = lease
        self._config = config
        self._tools = tools
        self._session = ShardSession(lease, config, tools.publisher, tools.gateways, self._on_established)
        self._policy = ReconnectPolicy(config.gateway_url, self._session.session)
        self._commands = ShardCommands(lease.shard, config)
        self._presence = ShardPresence(lease.shard, tools.presences)
        self._connection: GatewayConnection | None = None
        self._is_stopping = asyncio.Event()
        self._is_closed = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self._state = ShardState.WAITING
        self.connect_count = 0
        """How often Discord said READY or RESUMED under this lease."""
        self._established_at: float | None = None

    # What the worker asks

    @property
    def state(self) -> ShardState:
        """Where the shard is in its life."""
        return self._state

    @property
    def refused_count(self) -> int:
        """Frames that were malformed, or that cannot be published."""
        return self._session.refused_count

    @property
    def latency_s(self) -> float | None:
        """Time from the last acknowledged heartbeat to its ACK."""
        return self._connection.latency_s if self._connection else None

    def held(self) -> HeldLease:
        """The lease and its newest checkpoint, for the coordinator."""
        return HeldLease(
            shard=self.lease.shard,
            fencing_token=self.lease.fencing_token,
            session=self.checkpoint(),
            state=self._state.value,
            latency_s=self.latency_s,
        )

    def checkpoint(self) -> Session | None:
        """The session up to the highest seq below which the broker confirmed everything."""
        return self._session.checkpoint()

    def stream_checkpoint(self) -> Checkpoint:
        """The same for the session stream."""
        return Checkpoint(shard=self.lease.shard, fencing_token=self.lease.fencing_token, session=self.checkpoint())

    async def hand_over(self) -> Session | None:
        """Close without ending the session, wait until all is confirmed, give the session away."""
        await self._stop("hand-over")
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self._tools.publisher.drained(self._session.outlet)
        except TimeoutError:
            _log.warning("unconfirmed at hand-over", extra={"action": "undrained", "shard": self.lease.shard})
            # Nothing of this lease may reach the broker after the checkpoint that its successor resumes from.
            self._tools.publisher.withdraw(self._session.outlet)
        return self.checkpoint()

    async def abandon(self) -> None:
        """The lease is lost: publish nothing more, close without ending the session."""
        self._session.mute()
        await self._stop("lease lost")
        self._session.mute()

    async def _stop(self, reason: str) -> None:
        self._is_stopping.set()
        if self._connection is not None:
            self._connection.close(End(NextStep.RESUME, reason))
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self._is_closed.wait()
        except TimeoutError:
            if self._task is None:
                return  # it was never started
            self._task.cancel()
            await self._is_closed.wait()

    async def send_command(self, op: int, d: dict[str, Any]) -> CommandSent | Failure:
        """Send a gateway command to Discord."""
        payload = self._commands.prepare(op, d, self._now())
        if isinstance(payload, Failure):
            return payload
        answer = await self._send(payload)
        if isinstance(answer, Failure):
            self._commands.on_unsent(op, d)
        return answer

    @property
    def is_presence_due(self) -> bool:
        """Whether Discord shows another presence than the one that is wanted, and can be told."""
        return self._state is ShardState.CONNECTED and self._presence.due() is not None

    async def show_presence(self) -> CommandSent | Failure:
        """Have Discord show the presence that is wanted; nothing is sent if it does."""
        if self._state is not ShardState.CONNECTED:
            return self._not_connected()
        presence = self._presence.due()
        if presence is None:
            return CommandSent(shard=self.lease.shard)
        self._presence.on_sending(presence)
        answer = await self._send(gateway_payloads.encode_payload(gateway_payloads.PRESENCE_UPDATE, presence))
        if not isinstance(answer, CommandSent):
            self._presence.on_unknown()
        return answer

    async def _send(self, payload: bytes) -> CommandSent | Failure:
        if self._connection is None or self._state is not ShardState.CONNECTED:
            return self._not_connected()
        try:
            wait_s = await self._connection.send_command(payload)
        except SocketClosedError:
            return self._not_connected()
        if wait_s > 0:
            message = f"shard {self.lease.shard} has used Discord's 120 sends per 60 s: try again later"
            return Failure(code=ErrorCode.RATE_LIMITED, message=message, retry_after_s=wait_s)
        return CommandSent(shard=self.lease.shard)

    def _not_connected(self) -> Failure:
        message = f"shard {self.lease.shard} is {self._state}: try again in a moment"
        return Failure(code=ErrorCode.NOT_READY, message=message, retry_after_s=1.0)

    # The life of the shard

    async def run(self) -> None:
        """Keep a connection until stopped."""
        self._task = asyncio.current_task()
        try:
            while not self._is_stopping.is_set():
                attempt = self._policy.next_attempt()
                await self._wait(attempt)
                if not self._is_stopping.is_set():
                    await self._connect_guarded(attempt)
        finally:
            self._connection = None
            self._set_state(ShardState.CLOSED)
            self._is_closed.set()

    async def _connect_guarded(self, attempt: Attempt) -> None:
        try:
            await self._connect(attempt)
        except RelayError:
            raise  # no reconnect mends it: the worker says what to change
        except Exception:  # noqa: BLE001 - the border of one shard: a defect in one must not end the others
            _log.exception("connection failed", extra=self._fields("connection_failed"))
            self._connection = None
            self._policy.on_unanswered()

    async def _wait(self, attempt: Attempt) -> None:
        wait_s = attempt.wait_s * random.uniform(1.0, 1.5)  # noqa: S311 - jitter
        try:
            async with asyncio.timeout(wait_s):
                await self._is_stopping.wait()
        except TimeoutError:
            return

    async def _connect(self, attempt: Attempt) -> None:
        permit_until = await self._unless_stopped(self._ready_to_connect(attempt))
        if permit_until is None:
            return
        self._set_state(ShardState.CONNECTING)
        try:
            socket = await GatewaySocket.open(self._tools.http, attempt.url, self._tools.compression)
        except SocketUnansweredError as error:
            self._policy.on_unanswered()
            _log.warning("no gateway", extra=self._fields("connect_failed", url=attempt.url, reason=str(error)))
            return
        self._connection = GatewayConnection(
            socket, self._session, shard=self.lease.shard, ready_timeout_s=READY_TIMEOUT_S
        )
        if self._is_stopping.is_set():
            self._connection.close(End(NextStep.RESUME, "stopping"))
        end = await self._connection.run(lambda: self._opening(attempt, permit_until))
        self._on_end(end)

    async def _ready_to_connect(self, attempt: Attempt) -> float:
        """Wait until it is of use to connect; until when an Identify may be sent."""
        publisher = self._tools.publisher
        await publisher.room()
        await publisher.vouched()
        if attempt.session is not None:
            return 0.0
        permit_until = await self._permit(attempt)
        await publisher.vouched()  # it may have waited long
        return permit_until

    async def _unless_stopped(self, waiting: Awaitable[T]) -> T | None:
        asking = asyncio.ensure_future(waiting)
        stopping = asyncio.create_task(self._is_stopping.wait(), name=f"stop of shard {self.lease.shard}")
        try:
            await asyncio.wait([asking, stopping], return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() and not stopping.done() else None
        finally:
            asking.cancel()
            stopping.cancel()

    async def _vouched(self) -> bool:
        await self._tools.publisher.vouched()
        return True

    def _permit(self, attempt: Attempt) -> Awaitable[float]:
        return self._tools.permits.acquire(self.lease.shard, self.lease.fencing_token, recovery=attempt.is_recovery)

    async def _opening(self, attempt: Attempt, permit_until: float) -> bytes:
        # Either payload ends the session of whoever holds the shard: not from one who is taken for dead by now.
        if await self._unless_stopped(self._vouched()) is None:
            raise SocketClosedError(None, "stopping")
        if attempt.session is None:
            while self._now() > permit_until:
                # The connection, or the permit's way here, took longer than the permit lasts: ask again.
                permit_until = await self._permit(attempt)
            self._set_state(ShardState.IDENTIFYING)
            self._session.begin_identify()
            self._policy.on_identify_sent()
            return payloads.identify(
                bot_token=self._tools.bot_token,
                intents=self._config.intents,
                shard=self.lease.shard,
                shard_count=self._config.shard_count,
                presence=self._presence.for_identify(),
            )
        self._set_state(ShardState.RESUMING)
        self._presence.on_unknown()  # what was sent last may not have arrived
        return payloads.resume(bot_token=self._tools.bot_token, session=self._session.begin_resume(attempt.session))

    def _on_established(self, event_type: str) -> None:
        if self._connection is not None:
            self._connection.established()
        session = self._session.session
        if session is not None:
            self._policy.on_established(session)
            self._established_at = self._now()
        self.connect_count += 1
        self._set_state(ShardState.CONNECTED)
        session_id = session.session_id if session else None
        _log.info("connected", extra=self._fields(event_type.lower(), session=session_id, seq=self._session.seq))

    def _on_end(self, end: End) -> None:
        established_s = None if self._established_at is None else self._now() - self._established_at
        self._established_at = None
        self._connection = None
        self._set_state(ShardState.WAITING)
        if end.step is NextStep.STOP:
            raise ConfigurationError(advice(end.code))
        self._policy.on_end(end.step, established_s=established_s)
        if end.step is NextStep.IDENTIFY:
            self._session.end()
        if not self._is_stopping.is_set():
            _log.info("connection ended", extra=self._fields("disconnected", next=end.step.value, reason=end.reason))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _set_state(self, state: ShardState) -> None:
        if state is not self._state:
            _log.debug("state", extra=self._fields("shard_state", before=self._state.value, state=state.value))
            self._state = state

    def _fields(self, action: str, **fields: object) -> dict[str, object]:
        return {"action": action, "shard": self.lease.shard, **fields}
