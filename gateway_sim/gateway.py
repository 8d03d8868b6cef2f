"""The gateway: takes every message of every connection, judges it and answers it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway_sim.gateway_commands import GatewayCommands
from gateway_sim.opcodes import (
    API_VERSION,
    CLIENT_CLOSES_THAT_END_THE_SESSION,
    CLOSES_THAT_END_THE_SESSION,
    MAX_SENDS,
    SEND_WINDOW_S,
    CloseCode,
    Opcode,
)
from gateway_sim.payload_rules import Refusal, check_heartbeat, check_order, parse_payload
from gateway_sim.referee import Received
from gateway_sim.session import SessionState
from gateway_sim.session_start import SessionStart

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway_sim.connection import Connection
    from gateway_sim.gateway_state import GatewayState
    from gateway_sim.json_value import Json
    from gateway_sim.session import Session

TICK_S = 0.1
_GRACE_FACTOR = 0.25
_MIN_GRACE_S = 2.0
_BEAT_AT_ONCE_S = 5.0
_BLIND_S = 1.0


class Gateway:
    """The handler of all connections. `on_wake` is called when there may be more to send."""

    def __init__(self, state: GatewayState, on_wake: Callable[[], None]) -> None:
        self._state = state
        self._on_wake = on_wake
        self._last_tick_at = time.monotonic()
        self.start = SessionStart(state)
        commands = GatewayCommands(state)
        self._handlers: dict[int, Callable[[Connection, Json], None]] = {
            Opcode.HEARTBEAT: self._heartbeat,
            Opcode.IDENTIFY: self.start.identify,
            Opcode.RESUME: self.start.resume,
            Opcode.PRESENCE_UPDATE: commands.presence_update,
            Opcode.VOICE_STATE_UPDATE: commands.voice_state_update,
            Opcode.REQUEST_GUILD_MEMBERS: commands.request_guild_members,
            Opcode.REQUEST_SOUNDBOARD_SOUNDS: commands.request_soundboard_sounds,
            Opcode.REQUEST_CHANNEL_INFO: commands.request_channel_info,
        }

    # --- a connection's life

    def opened(self, connection: Connection) -> None:
        """Greet with Hello, or refuse the query."""
        state = self._state
        state.connections.add(connection)
        version, encoding, _ = connection.query
        if version != str(API_VERSION):
            detail = f"The gateway version {version or 'none'} is not supported."
            self._refuse(connection, Refusal(CloseCode.INVALID_API_VERSION, "invalid_api_version", detail))
        elif encoding != "json":
            connection.close(CloseCode.DECODE_ERROR, f"encoding={encoding} is not simulated: use encoding=json")
        elif state.faults.take_reconnect_before_hello():
            connection.send_control(Opcode.RECONNECT)
        else:
            connection.last_beat_at = time.monotonic()
            interval = state.settings.heartbeat_interval_ms
            connection.send_control(Opcode.HELLO, {"heartbeat_interval": interval, "_trace": ["gateway-sim"]})

    def received(self, connection: Connection, raw: bytes) -> None:
        """Judge and answer one message."""
        try:
            self._judge(connection, raw)
        except Refusal as refusal:
            self._refuse(connection, refusal)
        self._on_wake()

    def client_closed(self, connection: Connection, code: int) -> None:
        """1000 and 1001 end the session; any other code keeps it."""
        self._state.referee.note(f"client_closed_{code}")
        session = connection.session
        if session is not None and code in CLIENT_CLOSES_THAT_END_THE_SESSION:
            connection.session = None
            self._state.sessions.end(session, f"the client closed with {code}", time.time())

    def lost(self, connection: Connection) -> None:
        """Keep the session for a Resume."""
        self._state.connections.discard(connection)
        self.part(connection)
        self._on_wake()

    def overrun(self, connection: Connection) -> None:
        """Cut a client that reads far too slowly; what its replay buffer has forgotten is lost to it."""
        self._state.referee.note("slow_client_dropped")
        connection.drop()

    def wake(self) -> None:
        """A connection can take more."""
        self._on_wake()

    def part(self, connection: Connection) -> None:
        """Separate a connection from its session, which can be resumed."""
        session, connection.session = connection.session, None
        if session is not None:
            session.detach(time.time())

    def close(self, connection: Connection, code: int, reason: str = "", *, keep_session: bool | None = None) -> None:
        """Close from Discord's side; whether the session is kept follows from the code unless it is given."""
        session = connection.session
        self.part(connection)
        keep = code not in CLOSES_THAT_END_THE_SESSION if keep_session is None else keep_session
        if session is not None and not keep:
            self._state.sessions.end(session, f"closed by the gateway with {code}", time.time())
        connection.close(code, reason)

    # --- judging

    def _judge(self, connection: Connection, raw: bytes) -> None:
        now = time.monotonic()
        if not connection.send_window.allows(now, uncertainty_s=self._state.uncertainty_s()):
            detail = f"More than {MAX_SENDS} payloads came within {SEND_WINDOW_S:.0f} s."
            raise Refusal(CloseCode.RATE_LIMITED, "send_limit", detail)
        op, d = parse_payload(raw)
        session = connection.session
        self._state.referee.command(
            Received(op, session.shard_id if session else None, session.session_id if session else None, d, time.time())
        )
        check_order(op, has_session=session is not None or connection.awaiting_ready)
        self._handlers[op](connection, d)

    def _refuse(self, connection: Connection, refusal: Refusal) -> None:
        self._state.violation(connection, refusal.rule, refusal.detail, time.time())
        self.close(connection, refusal.code, refusal.detail)

    def _heartbeat(self, connection: Connection, d: Json) -> None:
        check_heartbeat(d)
        now = time.monotonic()
        connection.last_beat_at = now
        connection.overdue = connection.missed_beat = False
        connection.beat_due_at = None
        self._check_heartbeat_seq(connection, d)
        if now >= connection.acks_withheld_until:
            connection.send_control(Opcode.HEARTBEAT_ACK)

    def _check_heartbeat_seq(self, connection: Connection, seq: int | None) -> None:
        session = connection.session
        if session is None:
            return
        last = connection.last_beat_seq
        if seq is not None and seq > session.last_seq:
            detail = f"A heartbeat named seq {seq}, but only {session.last_seq} were sent."
            self._state.violation(connection, "heartbeat_seq", detail, time.time())
        elif last is not None and (seq is None or seq < last):
            detail = f"A heartbeat named seq {seq} after an earlier one had named {last}."
            self._state.violation(connection, "heartbeat_seq", detail, time.time())
        else:
            connection.last_beat_seq = seq
            session.acknowledge(seq or 0)

    # --- time

    def tick(self) -> None:
        """Look at all deadlines; to be called every `TICK_S`."""
        now, at = time.monotonic(), time.time()
        # A simulator that was not scheduled itself cannot blame the clients for that time.
        blind_s = now - self._last_tick_at if now - self._last_tick_at > _BLIND_S else 0.0
        self._last_tick_at = now
        for connection in list(self._state.connections):
            connection.last_beat_at += blind_s
            self._check_deadline(connection, now)
        for session in self._state.sessions.alive():
            self._age(session, at)

    def _age(self, session: Session, at: float) -> None:
        session.replay.trim(at)
        since = session.disconnected_at
        expired = since is not None and at - since > self._state.settings.replay_age_s
        if session.state is SessionState.DISCONNECTED and expired:
            self._state.sessions.end(session, "nobody resumed it in time", at)

    def _check_deadline(self, connection: Connection, now: float) -> None:
        if not connection.is_open or not connection.last_beat_at or now < connection.stalled_until:
            return
        self._check_beat_at_once(connection, now)
        interval_s = self._state.settings.heartbeat_interval_ms / 1000
        since = max(connection.last_beat_at, connection.stalled_until)
        if now - since <= interval_s + max(interval_s * _GRACE_FACTOR, _MIN_GRACE_S):
            return
        if not connection.overdue:
            connection.overdue = True  # its heartbeat may wait in the socket: one more look
            return
        detail = f"No heartbeat for {now - since:.1f} s; the interval is {interval_s} s."
        if not connection.missed_beat:
            connection.missed_beat = True
            self._state.violation(connection, "heartbeat_missed", detail, time.time())
        if now - since > (self._state.settings.session_timeout_s or 0.0):
            self.close(connection, CloseCode.SESSION_TIMED_OUT, detail)

    def _check_beat_at_once(self, connection: Connection, now: float) -> None:
        due_at = connection.beat_due_at
        if due_at is not None and now > due_at + _BEAT_AT_ONCE_S:
            connection.beat_due_at = None
            detail = f"An op 1 was not answered by a heartbeat within {_BEAT_AT_ONCE_S:.0f} s."
            self._state.violation(connection, "heartbeat_request_unanswered", detail, time.time())
