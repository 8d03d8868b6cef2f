"""The Discord session of a shard: takes its dispatches, publishes them, knows where to resume."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import orjson
from pydantic import ValidationError

from eventbus.messages import Session
from gateway_workers.frame_peek import MalformedFrameError
from gateway_workers.topology import EventTypeRefusedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eventbus.messages import BotConfig, Lease
    from gateway_workers.frame_peek import FrameHead
    from gateway_workers.publisher import DispatchPublisher
    from gateway_workers.resume_url import TrustedGateways

_log = logging.getLogger(__name__)

STALL_S = 10.0
"""A window that stays full for so long closes the connection: Discord's replay buffer holds the rest."""


class ShardSession:
    """The `DispatchSink` of a shard's connections; `on_established(type)` is called for READY and RESUMED.

    A READY that Discord replays, or either of them sent twice, is a dispatch like any other.
    """

    def __init__(
        self,
        lease: Lease,
        config: BotConfig,
        publisher: DispatchPublisher,
        gateways: TrustedGateways,
        on_established: Callable[[str], None],
    ) -> None:
        self._shard = lease.shard
        self._config = config
        self._publisher = publisher
        self._gateways = gateways
        self._on_established = on_established
        self.session = self._usable(lease.session)
        self._seq = self.session.seq if self.session else 0
        self.outlet = publisher.outlet(
            shard=lease.shard, shard_count=config.shard_count, fencing_token=lease.fencing_token, seq=self._seq
        )
        self._awaited: str | None = None
        self._replaying = False
        self._is_mute = False
        self._malformed_after_seq: int | None = None
        self.refused_count = 0

    def _usable(self, session: Session | None) -> Session | None:
        if session is not None and session.shard_count != self._config.shard_count:
            reason = f"the session is one of {session.shard_count} shards, there are {self._config.shard_count} now"
            _log.warning("session not resumed", extra=self._fields("session_unusable", reason=reason))
            return None
        return self._with_trusted_url(session) if session is not None else None

    def _with_trusted_url(self, session: Session) -> Session:
        if not session.resume_url or session.resume_url in self._gateways:
            return session
        reason = f"trusted are {self._gateways}; {self._config.gateway_url} is used instead"
        fields = self._fields("resume_url_refused", url=session.resume_url[:200], reason=reason)
        _log.warning("resume URL refused: the bot token does not go there", extra=fields)
        return session.model_copy(update={"resume_url": ""})

    # What the shard says and asks

    def checkpoint(self) -> Session | None:
        """The session up to the highest seq below which the broker confirmed everything."""
        if self.session is None:
            return None
        return self.session.model_copy(update={"seq": self.outlet.mark.confirmed})

    def begin_identify(self) -> None:
        """An Identify goes out: what was before is over."""
        self._awaited = "READY"
        self.session = None
        self._seq = 0
        self._replaying = False

    def begin_resume(self, session: Session) -> Session:
        """A Resume of `session` goes out; from where."""
        self._awaited = "RESUMED"
        self._replaying = True
        return session.model_copy(update={"seq": self._seq})

    def end(self) -> None:
        """Discord has ended the session."""
        self.session = None

    def mute(self) -> None:
        """The lease is lost: publish nothing more."""
        self._is_mute = True
        self._publisher.drop(self.outlet)

    # DispatchSink

    @property
    def seq(self) -> int | None:
        """The last seq taken from Discord."""
        return self._seq or None

    @property
    def is_full(self) -> bool:
        """Whether the window to the broker is full."""
        return self._publisher.is_full

    async def room(self) -> bool:
        """Wait for room in the window; False if it stays full."""
        try:
            async with asyncio.timeout(STALL_S):
                await self._publisher.room()
        except TimeoutError:
            return False
        return True

    def dispatch(self, head: FrameHead, frame: bytes) -> Awaitable[bool] | None:
        """Publish one dispatch; the first of a type waits until its exchange is declared."""
        event_type, seq = head.type, head.seq
        if event_type is None or seq is None:
            self.refused_count += 1
            return None
        if event_type == self._awaited:
            self._establish(event_type, frame)
        elif seq <= self._seq:
            return None  # Discord sent it twice in one session: the first one is on its way
        if not self.outlet.knows(event_type):
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
        return first and self._awaited != "READY"

    def _publish(self, event_type: str, seq: int, frame: bytes) -> None:
        self._seq = max(self._seq, seq)
        if self.session is None or self._is_mute:
            return
        self.outlet.publish(
            event_type,
            frame,
            seq=seq,
            session_id=self.session.session_id,
            replayed=self._replaying,
            received_at=time.time(),
        )

    async def _publish_first(self, event_type: str, seq: int, frame: bytes) -> bool:
        try:
            async with asyncio.timeout(STALL_S):
                await self.outlet.prepare(event_type)
        except TimeoutError:
            return False
        except EventTypeRefusedError:
            self.refused_count += 1
            self._seq = seq
            return True
        self._publish(event_type, seq, frame)
        return True

    def _establish(self, event_type: str, frame: bytes) -> None:
        if event_type == "READY":
            self.session = self._with_trusted_url(self._read_ready(frame))
            self._seq = 0
            self.outlet.new_session()
        self._awaited = None
        self._replaying = False
        self._on_established(event_type)

    def _read_ready(self, frame: bytes) -> Session:
        try:
            data = orjson.loads(frame)["d"]
            return Session(
                session_id=data["session_id"],
                resume_url=data.get("resume_gateway_url") or "",
                seq=0,
                shard_count=self._config.shard_count,
                intents=self._config.intents,
            )
        except (orjson.JSONDecodeError, ValidationError, KeyError, TypeError, AttributeError) as error:
            raise MalformedFrameError(f"READY has no session: {error!r}") from error

    def _fields(self, action: str, **fields: object) -> dict[str, object]:
        return {"action": action, "shard": self._shard, **fields}
