"""How a shard connects next: resume or identify, to which host, after which wait.

A host that brings no session, whether it is silent, closes or refuses, is left for the other one and tried again
later. Identifies that bring no session of some minutes are further apart each time: whatever goes wrong at Discord's,
they must not eat the daily budget. Neither must sessions that end as soon as they began make a tight loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway_workers.close_codes import NextStep

if TYPE_CHECKING:
    from eventbus.messages import Session

FIRST_WAIT_S = 0.25
MAX_WAIT_S = 30.0
INVALID_SESSION_WAIT_S = 1.0
IDENTIFY_RETRY_S = 5.0
MAX_IDENTIFY_RETRY_S = 600.0
WORTH_AN_IDENTIFY_S = 120.0
"""A session that lived for so long was worth its Identify: the next one need not wait."""
STABLE_S = 1.0
"""A session that ran for so long was no failure."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """The next connection; `session` is None for an identify. Waits are spread by the caller's jitter."""

    url: str
    session: Session | None
    wait_s: float
    is_recovery: bool


class ReconnectPolicy:
    """One shard's; pure. `session` is None without a session that can be resumed."""

    def __init__(self, gateway_url: str, session: Session | None) -> None:
        self._gateway_url = gateway_url
        self.session = session
        self._failures = 0
        self._use_general_url = False
        self._had_session = session is not None
        self._vain_identifies = 0
        self._lived_s = 0.0
        self._invalidated = False

    def next_attempt(self) -> Attempt:
        """What to do now."""
        wait_s = _backoff_s(self._failures, FIRST_WAIT_S, MAX_WAIT_S)
        if self.session is None:
            if self._invalidated:
                wait_s = max(wait_s, INVALID_SESSION_WAIT_S)
            apart_s = _backoff_s(self._vain_identifies, IDENTIFY_RETRY_S, MAX_IDENTIFY_RETRY_S)
            wait_s = max(wait_s, apart_s - self._lived_s)
            return Attempt(self._gateway_url, None, wait_s, self._had_session)
        url = self._gateway_url if self._use_general_url or not self.session.resume_url else self.session.resume_url
        return Attempt(url, self.session, wait_s, is_recovery=True)

    def on_unanswered(self) -> None:
        """No session came from where the attempt went: try the other host next, later each time."""
        self._failures += 1
        self._use_general_url = not self._use_general_url

    def on_identify_sent(self) -> None:
        """An Identify was spent."""
        self._vain_identifies += 1
        self._invalidated = False

    def on_established(self, session: Session) -> None:
        """READY or RESUMED came."""
        self.session = session
        self._had_session = True
        self._use_general_url = False

    def on_end(self, step: NextStep, *, established_s: float | None) -> None:
        """The connection ended; `established_s` is how long ago READY or RESUMED came, None if neither did."""
        self._lived_s = established_s or 0.0
        if established_s is None:
            self.on_unanswered()
        else:
            self._failures = 0 if established_s >= STABLE_S else self._failures + 1
            if established_s >= WORTH_AN_IDENTIFY_S:
                self._vain_identifies = 0
        if step is NextStep.IDENTIFY:
            self.session = None
            self._invalidated = True


def _backoff_s(failures: int, first_s: float, most_s: float) -> float:
    return min(first_s * 2 ** min(failures - 1, 30), most_s) if failures else 0.0
