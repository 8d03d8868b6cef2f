"""Terms: whose records in the session stream count, by the order in which they stand there. Pure.

A term is one stretch of leading. Whoever begins one writes so; what another term writes behind that is void, for
every reader alike, however late the broker took it.
"""

from __future__ import annotations


class Terms:
    """Takes the terms of records in the order of the stream."""

    def __init__(self) -> None:
        self._newest: str | None = None
        self._own: str | None = None
        self._is_whole = True
        self.has_predecessor = False

    @property
    def own(self) -> str | None:
        """Our term while nobody began another one behind it."""
        return self._own if self._own == self._newest else None

    def expect(self, term: str) -> None:
        """We are about to begin this term."""
        self._own = term

    def began(self, term: str) -> bool:
        """A term begins; True if it ends ours."""
        ends_ours = self.own is not None and term != self._own
        self.has_predecessor = self._newest is not None and self._is_whole
        self._is_whole = self._is_whole or term == self._own
        self._newest = term
        return ends_ours

    def note_loss(self) -> None:
        """Records may have been missed: whoever writes next leads, and of our predecessor not all is known."""
        self._newest, self._is_whole = None, False

    def is_void(self, term: str) -> bool:
        """Whether a record of this term, read now, is void."""
        if self._newest is None:
            self._newest = term  # its beginning is older than the stream remembers
        return term != self._newest

    def is_own(self, term: str) -> bool:
        """Whether we wrote a record of this term."""
        return term == self._own
