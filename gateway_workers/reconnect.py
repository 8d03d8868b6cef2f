"""How a shard connects next: resume or identify, to which host, after which wait.

A resume host that does not answer is left for the general URL and tried again later. Identifies that bring no READY
wait longer each time: during an outage of Discord's they must not eat the daily budget.
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
        self._unanswered_identifies = 0
        self._invalidated = False

    def next_attempt(self) -> Attempt:
        """What to do now."""
        wait_s = min(FIRST_WAIT_S * 2 ** (self._failures - 1), MAX_WAIT_S) if self._failures else 0.0
        if self.session is None:
            if self._invalidated:
                wait_s = max(wait_s, INVALID_SESSION_WAIT_S)
            if self._unanswered_identifies:
                patience_s = IDENTIFY_RETRY_S * 2 ** (self._unanswered_identifies - 1)
                wait_s = max(wait_s, min(patience_s, MAX_IDENTIFY_RETRY_S))
            return Attempt(self._gateway_url, None, wait_s, self._had_session)
        url = self._gateway_url if self._use_general_url or not self.session.resume_url else self.session.resume_url
        return Attempt(url, self.session, wait_s, is_recovery=True)

    def on_unanswered(self) -> None:
        """No Hello came from where the attempt went: try the other host next, later each time."""
        self._failures += 1
        self._use_general_url = not self._use_general_url

    def on_identify_sent(self) -> None:
        """An Identify was spent."""
        self._unanswered_identifies += 1
        self._invalidated = False

    def on_established(self, session: Session) -> None:
        """READY or RESUMED came."""
        self.session = session
        self._had_session = True
        self._failures = 0
        self._use_general_url = False
        self._unanswered_identifies = 0

    def on_end(self, step: NextStep, *, was_established: bool) -> None:
        """The connection ended after a Hello."""
        if not was_established:
            self._failures += 1
        if step is NextStep.IDENTIFY:
            if self.session is None:
                self._unanswered_identifies = max(0, self._unanswered_identifies - 1)  # answered: by a refusal
            self.session = None
            self._invalidated = True
