"""Which presence Discord shows of one shard's session, and whether another one is wanted. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway_workers.presence_book import PresenceBook


class ShardPresence:
    """Of one shard under one lease: `book` says what is wanted."""

    def __init__(self, shard: int, book: PresenceBook) -> None:
        self._shard = shard
        self._book = book
        self._shown: dict[str, Any] | None = None

    def for_identify(self) -> dict[str, Any] | None:
        """What a new session begins with."""
        self._shown = self._book.wanted(self._shard)
        return self._shown

    def due(self) -> dict[str, Any] | None:
        """What is to be sent now, if anything."""
        wanted = self._book.wanted(self._shard)
        return None if wanted == self._shown else wanted

    def on_sending(self, presence: dict[str, Any]) -> None:
        """It is being sent."""
        self._shown = presence

    def on_unknown(self) -> None:
        """Nobody knows what Discord shows: it was not sent, or the connection ended."""
        self._shown = None
