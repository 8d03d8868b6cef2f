"""How far a process's copy of the cache has come, and the events that were made on the way. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import hikari

SESSION_COUNT = 10_000
EVENT_COUNT = 10_000


class CachePast:
    """Bounded: of sessions and events the newest are known."""

    def __init__(self, *, session_count: int = SESSION_COUNT, event_count: int = EVENT_COUNT) -> None:
        self._session_count = session_count
        self._event_count = event_count
        self._seqs: dict[str, int] = {}
        self._events: dict[str, hikari.Event] = {}

    def note(self, session_id: str, seq: int, event: hikari.Event | None) -> None:
        """A dispatch was applied; `event` if somebody listens to it.

        When it comes again, the first event stays, and there is none if that is forgotten: the state before was later.
        """
        is_first = not self.has_passed(session_id, seq)
        self._seqs[session_id] = max(seq, self._seqs.pop(session_id, seq))
        if len(self._seqs) > self._session_count:
            del self._seqs[next(iter(self._seqs))]
        if event is not None and is_first:
            self._events[f"{session_id}:{seq}"] = event
            if len(self._events) > self._event_count:
                del self._events[next(iter(self._events))]

    def has_passed(self, session_id: str, seq: int) -> bool:
        """Whether it or a later one of its session was applied: they come in order, and no session id comes twice."""
        return seq <= self._seqs.get(session_id, -1)

    def event(self, message_id: str) -> hikari.Event | None:
        """What was made of a dispatch; None if nobody listened, or if it is too long ago."""
        return self._events.get(message_id)
