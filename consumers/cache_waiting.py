"""Dispatches whose handlers wait until this process's copy of the cache has come to them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from consumers.cache_past import CachePast

if TYPE_CHECKING:
    import hikari

    from consumers.dispatch import Dispatch

_log = logging.getLogger(__name__)

WAIT_S = 5.0
"""How long a dispatch waits for the copy to come so far."""
MAX_UNKNOWN_SESSIONS = 1000


class CacheWaiting:
    """The copy tells what it applied; `reach` waits for it."""

    def __init__(self) -> None:
        self._past = CachePast()
        self._awaited: dict[str, list[tuple[int, asyncio.Event]]] = {}
        self._unknown_sessions: set[str] = set()

    def applied(self, dispatch: Dispatch, event: hikari.Event | None) -> None:
        """The copy has come to a dispatch, and to those before it in its session.

        `event` is what hikari made of it, if somebody listens.
        """
        self._past.note(dispatch.session_id, dispatch.seq, event)
        self._unknown_sessions.discard(dispatch.session_id)
        for seq, reached in self._awaited.get(dispatch.session_id, ()):
            if seq <= dispatch.seq:
                reached.set()

    async def reach(self, dispatch: Dispatch) -> hikari.Event | None:
        """Wait until the copy has come to this dispatch; the event that was made there, if it is still known."""
        if not self._is_passed(dispatch):
            await self._wait(dispatch)
        return self._past.event(dispatch.message_id)

    def _is_passed(self, dispatch: Dispatch) -> bool:
        return self._past.has_passed(dispatch.session_id, dispatch.seq) or dispatch.session_id in self._unknown_sessions

    async def _wait(self, dispatch: Dispatch) -> None:
        reached = asyncio.Event()
        waiter = (dispatch.seq, reached)
        waiting = self._awaited.setdefault(dispatch.session_id, [])
        waiting.append(waiter)
        try:
            async with asyncio.timeout(WAIT_S):
                await reached.wait()
        except TimeoutError:
            if len(self._unknown_sessions) < MAX_UNKNOWN_SESSIONS:
                self._unknown_sessions.add(dispatch.session_id)  # one that ended long ago: its backlog does not wait
            _log.debug("the cache did not come so far", extra={"action": "cache_late", "message": dispatch.message_id})
        finally:
            waiting.remove(waiter)
            if not waiting:
                del self._awaited[dispatch.session_id]
