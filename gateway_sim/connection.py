"""One websocket connection of a client: bytes in and out, no decisions.

The handshake and incoming frames go through `websockets`' sans-I/O protocol; outgoing dispatches are written as
prepared frames, many per write.
"""

from __future__ import annotations

import asyncio
import enum
import itertools
import socket
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qs, urlsplit

from websockets.frames import Frame
from websockets.frames import Opcode as WsOpcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from gateway_sim.compression import Encoder, PlainEncoder, encoder_for
from gateway_sim.envelope import control_payload, dispatch_payloads
from gateway_sim.send_window import SendWindow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway_sim.json_value import Json
    from gateway_sim.replay_buffer import Entry
    from gateway_sim.session import Session

    Renderer = Callable[[Sequence[Entry]], list[bytes]]

_HIGH_WATER_BYTES = 256 * 1024
_SEND_BUFFER_BYTES = 256 * 1024
_MAX_INCOMING_BYTES = 1024 * 1024
_BATCH = 64
_OUTBOX_BYTES = 64 * 1024
_DRAIN_INTERVAL_S = 0.02
_CLOSE_TIMEOUT_S = 2.0
_ids = itertools.count(1)


class HostMode(enum.Enum):
    """How a gateway host behaves towards new connections."""

    OK = "ok"
    REFUSE = "refuse"
    HANG = "hang"
    UNAVAILABLE = "503"


class ConnectionHandler(Protocol):
    """Decides what happens on a connection."""

    def opened(self, connection: Connection) -> None:
        """The websocket handshake is done."""

    def received(self, connection: Connection, raw: bytes) -> None:
        """A whole message came."""

    def client_closed(self, connection: Connection, code: int) -> None:
        """The client sent a close frame first (1005: without a code)."""

    def lost(self, connection: Connection) -> None:
        """The TCP connection is gone."""

    def overrun(self, connection: Connection) -> None:
        """The client is so far behind that its replay buffer no longer reaches back."""

    def wake(self) -> None:
        """A connection can take more."""


class Connection(asyncio.Protocol):
    """A client's connection; `session` is set while it serves one. `*_at` are time.monotonic()."""

    def __init__(self, handler: ConnectionHandler, *, on_resume_host: bool, mode: HostMode, max_backlog: int) -> None:
        self.id = next(_ids)
        self.on_resume_host = on_resume_host
        self.session: Session | None = None
        self.awaiting_ready = False
        self.query: tuple[str, str, str] = ("", "", "")
        self.send_window = SendWindow()
        self.opened_at = time.time()
        self.last_beat_at = 0.0
        self.last_beat_seq: int | None = None
        self.beat_due_at: float | None = None
        self.overdue = False
        self.missed_beat = False
        self.acks_withheld_until = 0.0
        self.renderer: Renderer = dispatch_payloads
        self.messages_received = 0
        self.bytes_sent = 0
        self._handler = handler
        self._mode = mode
        self._max_backlog = max_backlog
        self._ws = ServerProtocol(max_size=_MAX_INCOMING_BYTES)
        self._encoder: Encoder = PlainEncoder()
        self._transport: asyncio.Transport | None = None
        self._fragments: list[bytes] = []
        self._backlog: deque[Entry] = deque()
        self._paused = False
        self._outbox = bytearray()
        self._gated = False
        self._bytes_per_s: float | None = None
        self._stalled_until = 0.0
        self._eof_wanted = False

    # --- what the gateway asks of it

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done and nobody has closed."""
        return self._ws.state is State.OPEN

    @property
    def stalled_until(self) -> float:
        """Until when a stall fault holds the connection."""
        return self._stalled_until

    @property
    def ready_for_more(self) -> bool:
        """Whether more can be sent now without piling up."""
        return not (self._paused or self._backlog or len(self._outbox) > _OUTBOX_BYTES)

    def use_payload_compression(self, encoder: Encoder) -> None:
        """Switch to per-payload compression, if the connection has no transport compression."""
        if isinstance(self._encoder, PlainEncoder):
            self._encoder = encoder

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Send dispatches, in order: now if the client keeps up, else as soon as it reads."""
        if not self._backlog and not self._paused and len(entries) <= _BATCH:
            self._send(self.renderer(entries))
            return
        self._backlog.extend(entries)
        self._flush_backlog()
        if len(self._backlog) > self._max_backlog:
            self._handler.overrun(self)

    def send_control(self, op: int, d: Json = None) -> None:
        """Send a payload that is no dispatch."""
        self._send([control_payload(op, d)])

    def send_text(self, text: bytes) -> None:
        """Send any text as if it were a payload."""
        self._send([text])

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame; the TCP connection follows when the client answers, or after 2 s."""
        if not self.is_open:
            return
        self._ws.send_close(code, reason[:120])
        self._write_protocol()
        asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT_S, self.drop)

    def drop(self) -> None:
        """Abort the TCP connection."""
        if self._transport is not None:
            self._transport.abort()

    def stall(self, seconds: float) -> None:
        """Neither read nor send for a while."""
        loop = asyncio.get_running_loop()
        self._stalled_until = max(self._stalled_until, time.monotonic() + seconds)
        if self._transport is not None:
            self._transport.pause_reading()
        loop.call_later(seconds, self._end_stall)
        self._open_gate()

    def throttle(self, bytes_per_s: float | None) -> None:
        """Send at most so many bytes per second; None lifts the limit."""
        self._bytes_per_s = bytes_per_s
        self._open_gate()

    def summary(self) -> dict[str, object]:
        """Return the connection as JSON for the control API."""
        return {
            "id": self.id,
            "host": "resume" if self.on_resume_host else "gateway",
            "query": dict(zip(("v", "encoding", "compress"), self.query, strict=True)),
            "open": self.is_open,
            "session": self.session.session_id if self.session else None,
            "shard": self.session.shard_id if self.session else None,
            "opened_at": self.opened_at,
            "messages_received": self.messages_received,
            "bytes_sent": self.bytes_sent,
            "backlog": len(self._backlog),
            "paused": self._paused,
        }

    # --- asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; a small send buffer keeps the client's back-pressure close."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        raw: socket.socket | None = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Feed the websocket protocol and hand on whole messages."""
        if self._mode is HostMode.HANG:
            return
        self._ws.receive_data(data)
        for event in self._ws.events_received():
            if isinstance(event, Request):
                self._handshake(event)
            elif isinstance(event, Frame):
                self._frame(event)
        self._write_protocol()

    def eof_received(self) -> bool:
        """The client will send nothing more."""
        if self._mode is not HostMode.HANG:
            self._ws.receive_eof()
            self._write_protocol()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Tell the handler."""
        self._transport = None
        self._backlog.clear()
        self._outbox.clear()
        self._handler.lost(self)

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._paused = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._paused = False
        self._flush_backlog()
        self._handler.wake()

    # --- inside

    def _handshake(self, request: Request) -> None:
        if self._mode is HostMode.UNAVAILABLE:
            self._ws.send_response(self._ws.reject(503, "The gateway is unavailable.\n"))
            return
        self._ws.send_response(self._ws.accept(request))
        self._write_protocol()
        if not self.is_open:
            return
        query = parse_qs(urlsplit(request.path).query)
        version, encoding, compress = (query.get(key, [""])[-1] for key in ("v", "encoding", "compress"))
        self.query = (version, encoding or "json", compress)
        encoder = encoder_for(compress)
        if encoder is None:
            self.close(4002, "unknown compress: use zlib-stream, zstd-stream or none")
            return
        self._encoder = encoder
        self._handler.opened(self)

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is WsOpcode.CLOSE:
            if self._ws.close_rcvd_then_sent and self._ws.close_rcvd is not None:
                self._handler.client_closed(self, int(self._ws.close_rcvd.code))
        elif frame.opcode in {WsOpcode.TEXT, WsOpcode.BINARY, WsOpcode.CONT}:
            self._fragments.append(bytes(frame.data))
            if frame.fin:
                message = b"".join(self._fragments)
                self._fragments.clear()
                self.messages_received += 1
                if self.is_open or self._ws.close_rcvd_then_sent:
                    self._handler.received(self, message)

    def _write_protocol(self) -> None:
        for data in self._ws.data_to_send():
            if data:
                self._write(data)
            else:
                self._eof_wanted = True
        if self._eof_wanted and not self._outbox and self._transport is not None:
            self._transport.close()

    def _flush_backlog(self) -> None:
        backlog = self._backlog
        while backlog and not self._paused and len(self._outbox) <= _OUTBOX_BYTES and self.is_open:
            batch = [backlog.popleft() for _ in range(min(_BATCH, len(backlog)))]
            self._send(self.renderer(batch))

    def _send(self, payloads: Sequence[bytes]) -> None:
        if self.is_open:
            self._write(self._encoder.encode(payloads))

    def _write(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        if self._gated:
            self._outbox += data
        elif self._transport is not None:
            self._transport.write(data)

    # --- the gate: stall and slow-socket faults hold bytes back in the outbox

    def _open_gate(self) -> None:
        if not self._gated and (self._bytes_per_s is not None or self._stalled_until > time.monotonic()):
            self._gated = True
            asyncio.get_running_loop().call_later(_DRAIN_INTERVAL_S, self._drain)

    def _drain(self) -> None:
        if self._transport is None:
            return
        if not self._paused and time.monotonic() >= self._stalled_until:
            size = len(self._outbox) if self._bytes_per_s is None else int(self._bytes_per_s * _DRAIN_INTERVAL_S) + 1
            self._transport.write(bytes(self._outbox[:size]))
            del self._outbox[:size]
            self._flush_backlog()
        self._gated = bool(self._outbox) or self._bytes_per_s is not None or self._stalled_until > time.monotonic()
        if self._gated:
            asyncio.get_running_loop().call_later(_DRAIN_INTERVAL_S, self._drain)
        self._write_protocol()
        self._handler.wake()

    def _end_stall(self) -> None:
        if self._transport is not None and time.monotonic() >= self._stalled_until:
            self._transport.resume_reading()
