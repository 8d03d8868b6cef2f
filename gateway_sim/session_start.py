"""Identify and Resume: how a connection comes to serve a session."""

from __future__ import annotations

import random
import secrets
import time
from typing import TYPE_CHECKING, cast

from gateway_sim.compression import PayloadZlibEncoder
from gateway_sim.envelope import KeyOrder, dispatch_payloads
from gateway_sim.greetings import guild_storm, ready, resumed
from gateway_sim.identify_gate import IdentifyAnswer
from gateway_sim.opcodes import CloseCode, Opcode
from gateway_sim.payload_rules import Refusal, check_intents, check_shard, parse_identify, parse_resume
from gateway_sim.replay_buffer import ReplayBuffer
from gateway_sim.session import Session, SessionState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway_sim.connection import Connection
    from gateway_sim.gateway_state import GatewayState
    from gateway_sim.identify_gate import IdentifyRuling
    from gateway_sim.json_value import Json
    from gateway_sim.payload_rules import Identify, Resume


class SessionStart:
    """Answers op 2 and op 6."""

    def __init__(self, state: GatewayState) -> None:
        self._state = state
        self._envelope_rng = random.Random(state.settings.seed)

    def identify(self, connection: Connection, d: Json) -> None:
        """Start a session, or refuse as Discord does; raises Refusal."""
        state = self._state
        identify = parse_identify(d)
        self._check_token(identify.token)
        state.referee.identifies += 1
        if connection.on_resume_host:
            state.referee.note("identify_on_resume_host")
        shard = identify.shard or (0, 1)
        self._check_rights(shard, identify.intents)
        now = time.monotonic()
        ruling = state.gate.identify(shard[0], now, uncertainty_s=state.uncertainty_s())
        if not self._admit(connection, shard, ruling):
            return
        if state.faults.ready_is_missing(shard[0], now):
            connection.awaiting_ready = True
            return
        self._begin(connection, identify, shard)

    def resume(self, connection: Connection, d: Json) -> None:
        """Continue a session, or refuse with op 9 false; raises Refusal."""
        resume = parse_resume(d)
        self._check_token(resume.token)
        session = self._state.sessions.get(resume.session_id)
        if session is None or session.state is SessionState.ENDED:
            self._refuse(connection)
            return
        if not session.resumable or self._state.faults.take_resume_refusal(session.shard_id):
            self._end(session, "resume refused by a fault")
            self._refuse(connection)
            return
        self._check_seq(session, resume)
        self._continue(connection, session, resume.seq)

    def dress(self, connection: Connection) -> None:
        """Put the standing faults of its shard on a connection."""
        session = connection.session
        if session is None:
            return
        faults = self._state.faults
        connection.throttle(faults.slow_socket.get(session.shard_id, faults.slow_socket.get(None)))
        wanted = faults.envelope.get(session.shard_id, faults.envelope.get(None))
        if wanted is None:
            connection.renderer = dispatch_payloads
        else:
            order = None if wanted == "random" else cast("Sequence[str]", wanted)
            connection.renderer = KeyOrder(order, self._envelope_rng).payloads

    def reset_token(self, detail: str) -> None:
        """Discord's worst answer: every session ends and the bot token is void."""
        state = self._state
        state.referee.token_reset = True
        state.world.bot_token = f"reset-{secrets.token_hex(8)}"
        for session in state.sessions.alive():
            self._end(session, "token reset")
        for connection in list(state.connections):
            connection.session = None
            connection.close(CloseCode.AUTHENTICATION_FAILED, detail)

    def _check_token(self, token: str) -> None:
        if token != self._state.world.bot_token:
            detail = "The bot token is void since the identify budget was exceeded."
            if not self._state.referee.token_reset:
                detail = "The bot token is wrong."
            raise Refusal(CloseCode.AUTHENTICATION_FAILED, "wrong_bot_token", detail)

    def _check_rights(self, shard: tuple[int, int], intents: int) -> None:
        settings = self._state.settings
        guilds = self._state.world.guilds_of_shard(*shard) if shard[1] > 0 else ()
        check_shard(
            shard,
            required_multiple=settings.required_multiple,
            guild_count=len(guilds),
            max_guilds=settings.max_guilds_per_shard,
        )
        check_intents(intents, disallowed=settings.disallowed_intents)

    def _admit(self, connection: Connection, shard: tuple[int, int], ruling: IdentifyRuling) -> bool:
        if ruling.answer is IdentifyAnswer.ALLOWED:
            return True
        window_s = self._state.settings.identify_window_s
        if ruling.answer is IdentifyAnswer.TOO_SOON:
            detail = (
                f"Shard {shard[0]} identified {ruling.since_last_s:.3f} s after the last Identify of bucket "
                f"{ruling.bucket}; {window_s} s must lie between them."
            )
            self._violation("identify_too_soon", detail, shard[0])
            connection.send_control(Opcode.INVALID_SESSION, d=False)
        else:
            detail = "An Identify beyond the daily budget: all sessions end and the bot token is reset."
            self._violation("identify_budget_exceeded", detail, shard[0])
            self.reset_token("the bot token was reset: too many identifies")
        return False

    def _begin(self, connection: Connection, identify: Identify, shard: tuple[int, int]) -> None:
        state, settings = self._state, self._state.settings
        at = time.time()
        session = Session(
            session_id=secrets.token_hex(16),
            shard=shard,
            intents=identify.intents,
            query=connection.query,
            replay=ReplayBuffer(depth=settings.replay_depth, age_s=settings.replay_age_s),
            ledger=state.ledger,
            started_at=at,
        )
        session.storm = guild_storm(state.world, shard, identify.intents)
        state.sessions.add(session)
        state.first_session.set()
        self._join(connection, session)
        if identify.compress:
            connection.use_payload_compression(PayloadZlibEncoder())
        greeting = ready(
            state.world, session.session_id, shard, state.resume_url, shard_given=identify.shard is not None
        )
        session.tell(greeting, at)

    def _check_seq(self, session: Session, resume: Resume) -> None:
        if resume.seq > session.last_seq:
            detail = f"A Resume asked for seq {resume.seq}, but only {session.last_seq} were sent."
            self._end(session, "resumed with a seq that was never sent")
            raise Refusal(CloseCode.INVALID_SEQ, "resume_seq_unknown", detail)

    def _continue(self, connection: Connection, session: Session, seq: int) -> None:
        state = self._state
        at = time.time()
        if connection.query != session.query:
            detail = f"A session of {session.query} was resumed with {connection.query} (version, encoding, compress)."
            self._violation("resume_query_changed", detail, session.shard_id, session.session_id)
        self._evict(session)
        missed = session.replay_after(seq, at)
        if missed is None:
            self._end(session, "the replay buffer no longer reached back")
            self._refuse(connection)
            return
        state.referee.resumes += 1
        state.referee.note("resume_on_resume_host" if connection.on_resume_host else "resume_on_gateway_host")
        session.acknowledge(seq)
        session.resume_count += 1
        self._join(connection, session)
        connection.deliver(missed)
        session.tell(resumed(session.session_id), at, replayable=False)

    def _evict(self, session: Session) -> None:
        for other in list(self._state.connections):
            if other.session is session:
                self._state.referee.note("session_taken_over")
                other.session = None
                other.close(CloseCode.UNKNOWN_ERROR, "the session was resumed by another connection")

    def _join(self, connection: Connection, session: Session) -> None:
        connection.session = session
        connection.last_beat_seq = None
        self.dress(connection)
        session.attach(connection)

    def _refuse(self, connection: Connection) -> None:
        self._state.referee.resumes_refused += 1
        connection.send_control(Opcode.INVALID_SESSION, d=False)

    def _end(self, session: Session, reason: str) -> None:
        self._state.sessions.end(session, reason, time.time())

    def _violation(self, rule: str, detail: str, shard: int, session: str | None = None) -> None:
        self._state.referee.violation(rule, detail, shard=shard, session=session, at=time.time())
