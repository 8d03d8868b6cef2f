"""One gateway session: its seq, its intents, its replay buffer and the connection that serves it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol

from gateway_sim.replay_buffer import Entry, ReplayBuffer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway_sim.dispatch import Dispatch
    from gateway_sim.ledger import Ledger


class SessionState(enum.Enum):
    """Where a session stands."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"  # nobody is connected, but it can be resumed
    ENDED = "ended"


class Outlet(Protocol):
    """The connection that serves a session."""

    def deliver(self, entries: Sequence[Entry]) -> None:
        """Send dispatches to the client, in order."""

    @property
    def ready_for_more(self) -> bool:
        """Whether the client reads fast enough to be sent more now."""


class Session:
    """A session of shard [shard_id, shard_count]. `started_at` and `at` are time.time()."""

    def __init__(
        self,
        *,
        session_id: str,
        shard: tuple[int, int],
        intents: int,
        query: tuple[str, str, str],
        replay: ReplayBuffer,
        ledger: Ledger,
        started_at: float,
    ) -> None:
        self.session_id = session_id
        self.shard_id, self.shard_count = shard
        self.intents = intents
        self.query = query
        self.started_at = started_at
        self.replay = replay
        self.last_seq = 0
        self.acked_seq = 0
        self.resume_count = 0
        self.resumable = True
        self.storm: Iterator[Dispatch] | None = None
        self.outlet: Outlet | None = None
        self.disconnected_at: float | None = None
        self.ended_at: float | None = None
        self.end_reason: str | None = None
        self._state = SessionState.DISCONNECTED
        self._ledger = ledger
        self._number = ledger.add_session(session_id, self.shard_id, self.shard_count)

    @property
    def state(self) -> SessionState:
        """Where the session stands."""
        return self._state

    @property
    def live(self) -> bool:
        """Whether the guilds after READY are through, so that events may follow."""
        return self.storm is None and self._state is not SessionState.ENDED

    def attach(self, outlet: Outlet) -> None:
        """Let a connection serve the session."""
        self._set_state(SessionState.CONNECTED)
        self.outlet = outlet
        self.disconnected_at = None

    def detach(self, at: float) -> None:
        """The connection is gone; the session can be resumed."""
        self.outlet = None
        if self._state is SessionState.CONNECTED:
            self._set_state(SessionState.DISCONNECTED)
            self.disconnected_at = at

    def end(self, reason: str, at: float) -> None:
        """End the session for good."""
        if self._state is SessionState.ENDED:
            return
        self._set_state(SessionState.ENDED)
        self.outlet = None
        self.storm = None
        self.ended_at = at
        self.end_reason = reason
        self.replay.clear()

    def offer(self, dispatches: Sequence[Dispatch], at: float) -> int:
        """Give the session events that happened at `at`; returns how many its shard and intents let through."""
        intents = self.intents
        guildless = self.shard_id == 0
        seq = self.last_seq
        entries: list[Entry] = []
        for dispatch in dispatches:
            wanted = dispatch.intents
            if (wanted and not wanted & intents) or not (guildless or dispatch.guild_id):
                continue
            seq += 1
            entries.append((seq, at, dispatch))
        self._take(entries)
        return len(entries)

    def tell(self, dispatch: Dispatch, at: float, *, replayable: bool = True) -> None:
        """Send a dispatch that belongs to this session alone (READY, RESUMED, answers), whatever its intents."""
        self._take([(self.last_seq + 1, at, dispatch)], replayable=replayable)

    def replay_after(self, seq: int, at: float) -> Sequence[Entry] | None:
        """Record and return what is to be sent again after a Resume at `seq`, or None if that is impossible."""
        entries = self.replay.after(seq, at)
        if entries is not None:
            self._ledger.record(self._number, entries, replay=True)
        return entries

    def acknowledge(self, seq: int) -> None:
        """The client showed (by a heartbeat or a Resume) that it has received `seq`."""
        self.acked_seq = max(self.acked_seq, seq)

    def _take(self, entries: list[Entry], *, replayable: bool = True) -> None:
        if not entries:
            return
        self.last_seq = entries[-1][0]
        if replayable:
            self.replay.extend(entries)
        self._ledger.record(self._number, entries)
        if self.outlet is not None:
            self.outlet.deliver(entries)

    def _set_state(self, state: SessionState) -> None:
        self._state = state

    def summary(self) -> dict[str, object]:
        """Return the session as JSON for the control API."""
        return {
            "session": self.session_id,
            "shard": self.shard_id,
            "shard_count": self.shard_count,
            "intents": self.intents,
            "state": self._state.value,
            "last_seq": self.last_seq,
            "acked_seq": self.acked_seq,
            "replayable": len(self.replay),
            "resumes": self.resume_count,
            "guilds_pending": self.storm is not None,
            "started_at": self.started_at,
            "disconnected_at": self.disconnected_at,
            "ended_at": self.ended_at,
            "end_reason": self.end_reason,
        }
