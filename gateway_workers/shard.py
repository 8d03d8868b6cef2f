"""One shard under one lease: connects, resumes or identifies, publishes, hands its session over."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from pydantic import ValidationError

from eventbus.errors import ConfigurationError, RelayError
from eventbus.messages import Checkpoint, CommandSent, ErrorCode, Failure, HeldLease, Lease, Session
from gateway_workers import payloads
from gateway_workers.close_codes import NextStep, advice
from gateway_workers.frame_peek import MalformedFrameError
from gateway_workers.gateway_connection import End, GatewayConnection
from gateway_workers.gateway_socket import GatewaySocket, SocketClosedError, SocketUnansweredError
from gateway_workers.reconnect import Attempt, ReconnectPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import aiohttp

    from eventbus.messages import BotConfig
    from gateway_workers.frame_peek import FrameHead
    from gateway_workers.inflate import Compression
    from gateway_workers.publisher import DispatchPublisher

_log = logging.getLogger(__name__)

READY_TIMEOUT_S = 60.0
STALL_S = 10.0
"""A window that stays full for so long closes the connection: Discord's replay buffer holds the rest."""
DRAIN_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 3.0


class ShardState(StrEnum):
    """Where a shard is in its life."""

    WAITING = "waiting"
    CONNECTING = "connecting"
    IDENTIFYING = "identifying"
    RESUMING = "resuming"
    CONNECTED = "connected"
    CLOSED = "closed"


_ESTABLISHED_FROM = {"READY": ShardState.IDENTIFYING, "RESUMED": ShardState.RESUMING}
"""A READY that Discord replays, or either of them sent twice, is a dispatch like any other."""


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
    compression: Compression


class Shard:
    """Runs `lease` until `hand_over()` or `abandon()`; `run()` is its task.

    `run()` raises ConfigurationError if Discord refuses in a way that no reconnect can mend.
    """

    def __init__(self, lease: Lease, config: BotConfig, tools: ShardTools) -> None:
        self.lease = lease
        self._config = config
        self._tools = tools
        session = lease.session
        if session is not None and session.shard_count != config.shard_count:
            session = None
        self._policy = ReconnectPolicy(config.gateway_url, session)
        self._session = session
        self._seq = session.seq if session else 0
        self._outlet = tools.publisher.outlet(
            shard=lease.shard, shard_count=config.shard_count, fencing_token=lease.fencing_token, seq=self._seq
        )
        self._replaying = False
        self._connection: GatewayConnection | None = None
        self._is_stopping = asyncio.Event()
        self._is_closed = asyncio.Event()
        self._task: asyncio.Task[Any] | None = None
        self._is_abandoned = False
        self._state = ShardState.WAITING
        self._established_at: float | None = None
        self._refused_types: set[str] = set()
        self._malformed_after_seq: int | None = None
        self.repeated_count = 0
        self.refused_count = 0

    # What the worker asks

    @property
    def state(self) -> ShardState:
        """Where the shard is in its life."""
        return self._state

    def held(self) -> HeldLease:
        """The lease and its newest checkpoint, for the coordinator."""
        latency_s = self._connection.latency_s if self._connection else None
        return HeldLease(
            shard=self.lease.shard,
            fencing_token=self.lease.fencing_token,
            session=self.checkpoint(),
            state=self._state.value,
            latency_s=latency_s,
        )

    def checkpoint(self) -> Session | None:
        """The session up to the highest seq below which the broker confirmed everything."""
        if self._session is None:
            return None
        return self._session.model_copy(update={"seq": self._outlet.mark.confirmed})

    def stream_checkpoint(self) -> Checkpoint:
        """The same for the session stream."""
        return Checkpoint(shard=self.lease.shard, fencing_token=self.lease.fencing_token, session=self.checkpoint())

    async def hand_over(self) -> Session | None:
        """Close without ending the session, wait until all is confirmed, give the session away."""
        await self._stop("hand-over")
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                await self._tools.publisher.drained(self._outlet)
        except TimeoutError:
            _log.warning("unconfirmed at hand-over", extra={"action": "undrained", "shard": self.lease.shard})
            # Nothing of this lease may reach the broker after the checkpoint that its successor resumes from.
            self._tools.publisher.withdraw(self._outlet)
        return self.checkpoint()

    async def abandon(self) -> None:
        """The lease is lost: publish nothing more, close without ending the session."""
        self._is_abandoned = True
        self._tools.publisher.drop(self._outlet)
        await self._stop("lease lost")
        self._tools.publisher.drop(self._outlet)

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
        payload = payloads.command(op, d)
        if len(payload) > payloads.MAX_PAYLOAD_BYTES:
            message = (
                f"the payload has {len(payload)} bytes, Discord takes {payloads.MAX_PAYLOAD_BYTES}: make it smaller"
            )
            return Failure(code=ErrorCode.BAD_REQUEST, message=message)
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
        while self._tools.publisher.is_full and not self._is_stopping.is_set():
            await self.room()  # neither an Identify nor a Resume is of use before
        if self._is_stopping.is_set():
            return
        permit_until = 0.0
        if attempt.session is None:
            self._set_state(ShardState.WAITING)
            permit_until = await self._unless_stopped(self._permit(attempt))
            if self._is_stopping.is_set():
                return
        self._set_state(ShardState.CONNECTING)
        try:
            socket = await GatewaySocket.open(self._tools.http, attempt.url, self._tools.compression)
        except SocketUnansweredError as error:
            self._policy.on_unanswered()
            _log.warning("no gateway", extra=self._fields("connect_failed", url=attempt.url, reason=str(error)))
            return
        self._connection = GatewayConnection(socket, self, shard=self.lease.shard, ready_timeout_s=READY_TIMEOUT_S)
        if self._is_stopping.is_set():
            self._connection.close(End(NextStep.RESUME, "stopping"))
        end = await self._connection.run(lambda: self._opening(attempt, permit_until))
        self._on_end(end)

    async def _unless_stopped(self, permit: Awaitable[float]) -> float:
        asking = asyncio.ensure_future(permit)
        stopping = asyncio.create_task(self._is_stopping.wait(), name=f"stop of shard {self.lease.shard}")
        try:
            await asyncio.wait([asking, stopping], return_when=asyncio.FIRST_COMPLETED)
            return asking.result() if asking.done() else 0.0
        finally:
            asking.cancel()
            stopping.cancel()

    def _permit(self, attempt: Attempt) -> Awaitable[float]:
        return self._tools.permits.acquire(self.lease.shard, self.lease.fencing_token, recovery=attempt.is_recovery)

    async def _opening(self, attempt: Attempt, permit_until: float) -> bytes:
        if attempt.session is None:
            while self._now() > permit_until:
                # The connection, or the permit's way here, took longer than the permit lasts: ask again.
                permit_until = await self._permit(attempt)
            self._set_state(ShardState.IDENTIFYING)
            self._session = None
            self._seq = 0
            self._replaying = False
            self._policy.on_identify_sent()
            return payloads.identify(
                bot_token=self._tools.bot_token,
                intents=self._config.intents,
                shard=self.lease.shard,
                shard_count=self._config.shard_count,
            )
        self._set_state(ShardState.RESUMING)
        self._replaying = True
        session = attempt.session.model_copy(update={"seq": self._seq})
        return payloads.resume(bot_token=self._tools.bot_token, session=session)

    def _on_end(self, end: End) -> None:
        established_s = None if self._established_at is None else self._now() - self._established_at
        self._established_at = None
        self._connection = None
        if end.step is NextStep.STOP:
            raise ConfigurationError(advice(end.code))
        self._policy.on_end(end.step, established_s=established_s)
        if end.step is NextStep.IDENTIFY:
            self._session = None
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

    # DispatchSink

    @property
    def seq(self) -> int | None:
        """The last seq taken from Discord."""
        return self._seq or None

    @property
    def is_full(self) -> bool:
        """Whether the window to the broker is full."""
        return self._tools.publisher.is_full

    async def room(self) -> bool:
        """Wait for room in the window; False if it stays full."""
        try:
            async with asyncio.timeout(STALL_S):
                await self._tools.publisher.room()
        except TimeoutError:
            return False
        return True

    def dispatch(self, head: FrameHead, frame: bytes) -> Awaitable[bool] | None:
        """Publish one dispatch; the first of a type waits until its exchange is declared."""
        event_type, seq = head.type, head.seq
        if event_type is None or seq is None:
            self.refused_count += 1
            return None
        if event_type in ("READY", "RESUMED") and self._state is _ESTABLISHED_FROM[event_type]:
            self._on_established(event_type, frame)
        elif seq <= self._seq:
            self.repeated_count += 1  # Discord sent it twice in one session: the first one is on its way
            return None
        if not self._outlet.knows(event_type):
            return self._publish_first(event_type, seq, frame)
        self._publish(event_type, seq, frame)
        return None

    def on_malformed(self, reason: str) -> bool:
        """Count a malformed frame; resume for it once, then skip it."""
        self.refused_count += 1
        first = self._malformed_after_seq != self._seq
        self._malformed_after_seq = self._seq
        if first:
            _log.warning("malformed frame", extra=self._fields("malformed_frame", reason=reason))
        return first and self._state in (ShardState.CONNECTED, ShardState.RESUMING)

    def _publish(self, event_type: str, seq: int, frame: bytes) -> None:
        self._seq = max(self._seq, seq)
        if self._session is None or self._is_abandoned:
            return
        self._outlet.publish(
            event_type,
            frame,
            seq=seq,
            session_id=self._session.session_id,
            replayed=self._replaying,
            received_at=time.time(),
        )

    async def _publish_first(self, event_type: str, seq: int, frame: bytes) -> bool:
        try:
            async with asyncio.timeout(STALL_S):
                await self._outlet.prepare(event_type)
        except TimeoutError:
            return False
        except ValueError as error:
            self.refused_count += 1
            if event_type not in self._refused_types and len(self._refused_types) < 100:
                self._refused_types.add(event_type)
                _log.warning("dispatch refused", extra=self._fields("dispatch_refused", reason=str(error)))
            self._seq = seq
            return True
        self._publish(event_type, seq, frame)
        return True

    def _on_established(self, event_type: str, frame: bytes) -> None:
        if event_type == "READY":
            self._on_ready(frame)
        self._replaying = False
        if self._connection is not None:
            self._connection.established()
        if self._session is not None:
            self._policy.on_established(self._session)
            self._established_at = self._now()
        self._set_state(ShardState.CONNECTED)
        session_id = self._session.session_id if self._session else None
        _log.info("connected", extra=self._fields(event_type.lower(), session=session_id, seq=self._seq))

    def _on_ready(self, frame: bytes) -> None:
        try:
            data = orjson.loads(frame)["d"]
            self._session = Session(
                session_id=data["session_id"],
                resume_url=data.get("resume_gateway_url") or "",
                seq=0,
                shard_count=self._config.shard_count,
            )
        except (orjson.JSONDecodeError, ValidationError, KeyError, TypeError, AttributeError) as error:
            raise MalformedFrameError(f"READY has no session: {error!r}") from error
        self._seq = 0
        self._outlet.new_session()
