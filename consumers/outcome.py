"""What came of a dispatch whose listeners ended, here or in another process."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """`failure`: why hikari could not read it, if so. `listener_failure`: which listener raised first, and what."""

    failure: str | None = None
    listener_failure: str | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing failed."""
        return self.failure is None and self.listener_failure is None
