"""One connection to Discord, from Hello to its end: heartbeats, reading, sending. It knows nothing of leases.

Source: https://discord.com/developers/docs/events/gateway#connection-lifecycle
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import orjson

from gateway_workers import payloads
from gateway_workers.close_codes import RESUMABLE_CLOSE, NextStep, next_step
from gateway_workers.frame_peek import FrameHead, MalformedFrameError, peek
from gateway_workers.gateway_socket import GatewaySocket, SocketClosedError
from gateway_workers.heart import Heart
from gateway_workers.inflate import InflateError
from gateway_workers.send_window import SendWindow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_log = logging.getLogger(__name__)

T = TypeVar("T")

HELLO_TIMEOUT_S = 15.0
MIN_HEARTBEAT_INTERVAL_S = 0.05
_NO_ROOM = "the broker takes nothing: Discord keeps the dispatches for us"

_DISPATCH, _HEARTBEAT, _RECONNECT, _INVALID_SESSION, _HELLO, _HEARTBEAT_ACK = 0, 1, 7, 9, 10, 11


@dataclass(frozen=True, slots=True)
class End:
    """Why a connection ended and what comes next; `code` is Discord's close code, if it gave one."""

    step: NextStep
    reason: str
    code: int | None = None


class DispatchSink(Protocol):
    """Takes the dispatches of a connection."""

    @property
    def seq(self) -> int | None:
        """The last seq taken, None before the first."""
        ...

    @property
    def is_full(self) -> bool:
        """Whether `room()` must be awaited before the next dispatch."""
        ...

    async def room(self) -> bool:
        """Wait for room; False if there was none for so long that the connection should be closed."""
        ...

    def dispatch(self, head: FrameHead, frame: bytes) -> Awaitable[bool] | None:
        """Take one dispatch; the awaitable, if any, comes before the next one. Raises MalformedFrameError.

        The awaitable gives what `room()` gives.
        """
        ...

    def on_malformed(self, reason: str) -> bool:
        """A frame could not be read: whether to resume from the last seq, so that it comes again."""
        ...


class GatewayConnection:
    """Made for an open socket; `run()` once. Whatever happens to the socket comes back as an `End`."""

    def __init__(self, socket: GatewaySocket, sink: DispatchSink, *, shard: int, ready_timeout_s: float) -> None:
        self._socket = socket
        self._sink = sink
        self._shard = shard
        self._ready_timeout_s = ready_timeout_s
        self._ready_timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._window = SendWindow()
        self._heart: Heart | None = None
        self._end: End | None = None
        self._closing: asyncio.Task[None] | None = None

    @property
    def latency_s(self) -> float | None:
        """Time from the last acknowledged heartbeat to its ACK."""
        return self._heart.latency_s if self._heart else None

    async def run(self, opening: Callable[[], Awaitable[bytes]]) -> End:
        """Wait for Hello, send what `opening()` gives (Identify or Resume), read until the end."""
        try:
            end = await self._hello()
            if end is None:
                beating = asyncio.create_task(self._beat(), name=f"heartbeat of shard {self._shard}")
                try:
                    await self._open_session(opening)
                    end = await self._read()
                finally:
                    beating.cancel()
        except SocketClosedError as error:
            end = End(next_step(error.code), str(error), error.code)
        except (InflateError, MalformedFrameError) as error:
            end = End(NextStep.RESUME, str(error))
        finally:
            self.established()
            await self._socket.close(RESUMABLE_CLOSE)
        return self._end or end

    async def _hello(self) -> End | None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT_S):
                while True:
                    frame = await self._socket.frame()
                    head = peek(frame)
                    if head.op == _RECONNECT:
                        return End(NextStep.RESUME, "op 7 before Hello")
                    if head.op == _HELLO:
                        jitter = random.random()  # noqa: S311 - spreads load
                        self._heart = Heart(interval_s=_interval_s(frame), jitter=jitter, now=self._loop.time())
                        return None
        except TimeoutError:
            return End(NextStep.RESUME, "no Hello")

    async def _open_session(self, opening: Callable[[], Awaitable[bytes]]) -> None:
        payload = await self._unread(opening())  # it may wait for a permit
        self._window.try_heartbeat(self._loop.time())
        await self._socket.send(payload)
        self._ready_timer = self._loop.call_later(
            self._ready_timeout_s, self.close, End(NextStep.RESUME, "no READY or RESUMED in time")
        )

    def established(self) -> None:
        """READY or RESUMED came: stop waiting for it."""
        if self._ready_timer is not None:
            self._ready_timer.cancel()

    def close(self, end: End) -> None:
        """Close resumably, now; `run()` returns `end`."""
        if self._end is None:
            self._end = end
            self._closing = asyncio.create_task(
                self._socket.close(RESUMABLE_CLOSE), name=f"close of shard {self._shard}"
            )

    # Reading

    async def _read(self) -> End:
        socket, sink = self._socket, self._sink
        while True:
            frame = await socket.frame()
            try:
                head = peek(frame)
            except MalformedFrameError as error:
                if sink.on_malformed(str(error)):
                    return End(NextStep.RESUME, "a frame was malformed: Discord sends again what it was")
                continue
            if head.op != _DISPATCH:
                end = await self._on_control(head, frame)
                if end is not None:
                    return end
                continue
            if sink.is_full and not await self._unread(sink.room()):
                return End(NextStep.RESUME, _NO_ROOM)
            pending = sink.dispatch(head, frame)
            if pending is not None and not await self._unread(pending):
                return End(NextStep.RESUME, _NO_ROOM)

    async def _unread(self, waiting: Awaitable[T]) -> T:
        """Wait for what is not the socket: while nothing is read, a missing ACK proves nothing."""
        if self._heart is None:
            return await waiting
        self._heart.on_reading_paused(self._loop.time())
        try:
            return await waiting
        finally:
            self._heart.on_reading_resumed(self._loop.time())

    async def _on_control(self, head: FrameHead, frame: bytes) -> End | None:
        if head.op == _HEARTBEAT_ACK and self._heart is not None:
            self._heart.on_ack(self._loop.time())
        elif head.op == _HEARTBEAT:
            await self._send_heartbeat()
        elif head.op == _RECONNECT:
            return End(NextStep.RESUME, "op 7: Discord asks to reconnect")
        elif head.op == _INVALID_SESSION:
            if _is_resumable(frame):
                return End(NextStep.RESUME, "op 9: resume again")
            return End(NextStep.IDENTIFY, "op 9: the session is gone")
        return None

    # Sending

    async def _beat(self) -> None:
        heart = self._heart
        if heart is None:
            return
        while True:
            wait_s = heart.next_beat_at - self._loop.time()
            if wait_s > 0:  # again after the wait: an op 1 may have brought a beat, and its ACK may be under way
                await asyncio.sleep(wait_s)
                continue
            if heart.is_zombie(self._loop.time()):
                self.close(End(NextStep.RESUME, "zombie: a heartbeat was not acknowledged"))
                return
            try:
                await self._send_heartbeat()
            except SocketClosedError as error:
                self.close(End(NextStep.RESUME, str(error)))
                return

    async def _send_heartbeat(self) -> None:
        wait_s = self._window.try_heartbeat(self._loop.time())
        if wait_s > 0:  # only a flood of op 1 can use the reserve up
            await asyncio.sleep(wait_s)
            self._window.try_heartbeat(self._loop.time())
        if self._heart is not None:
            self._heart.on_beat(self._loop.time())
        await self._socket.send(payloads.heartbeat(self._sink.seq))

    async def send_command(self, payload: bytes) -> float:
        """Send a gateway command. 0.0 when sent, else the seconds after which Discord's limit allows it.

        Raises SocketClosedError.
        """
        wait_s = self._window.try_command(self._loop.time())
        if wait_s == 0.0:
            await self._socket.send(payload)
        return wait_s


def _is_resumable(invalid_session: bytes) -> bool:
    try:
        return bool(orjson.loads(invalid_session).get("d") is True)
    except orjson.JSONDecodeError as error:
        raise MalformedFrameError(f"op 9 could not be read: {error!r}") from error


def _interval_s(hello: bytes) -> float:
    try:
        return max(float(orjson.loads(hello)["d"]["heartbeat_interval"]) / 1000, MIN_HEARTBEAT_INTERVAL_S)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise MalformedFrameError(f"Hello has no heartbeat interval: {error!r}") from error
