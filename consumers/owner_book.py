"""Which process of a group sent a message with components, or opened a modal: bounded by count and by age."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from consumers.owner_keys import Key

GENERATION_COUNT = 250_000
GENERATION_AGE_S = 12 * 3600.0
MAX_LOST = 10_000


class OwnerBook:
    """Owners by key, "" for this process; whoever sent or edited last owns.

    Two generations, so that nothing is searched: a key is known for at least one generation, at most for two.
    """

    def __init__(self, *, count: int = GENERATION_COUNT, age_s: float = GENERATION_AGE_S) -> None:
        self._count = count
        self._age_s = age_s
        self._new: dict[Key, str] = {}
        self._old: dict[Key, str] = {}
        self._began_at: float | None = None
        self._lost: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._old)

    def claim(self, keys: Iterable[Key], now: float) -> None:
        """These are this process's own."""
        self.learn("", keys, now)

    def learn(self, owner: str, keys: Iterable[Key], now: float) -> None:
        """These are `owner`'s; `now` is in seconds of any clock that does not go back."""
        self._turn(now)
        self._lost.pop(owner, None)
        for key in keys:
            self._old.pop(key, None)
            self._new[key] = owner
            if len(self._new) >= self._count:
                self._begin(now)

    def lose(self, owner: str) -> None:
        """That process is gone, or takes no more until it is heard of again: whoever has what it owned handles it."""
        self._lost[owner] = None
        if len(self._lost) > MAX_LOST:
            del self._lost[next(iter(self._lost))]

    def owner_of(self, keys: Iterable[Key], now: float) -> str | None:
        """Another process that owns the first of `keys` that anybody owns; None: this one, or nobody known."""
        self._turn(now)
        for key in keys:
            owner = self._new.get(key, self._old.get(key))
            if owner is not None and owner not in self._lost:
                return owner or None
        return None

    def own_keys(self) -> tuple[Key, ...]:
        """All that this process owns, the oldest first."""
        return tuple(key for known in (self._old, self._new) for key, owner in known.items() if not owner)

    def _turn(self, now: float) -> None:
        if self._began_at is None:
            self._began_at = now
        while now - self._began_at >= self._age_s and (self._new or self._old):
            self._begin(self._began_at + self._age_s)
        if not self._new and not self._old:
            self._began_at = now

    def _begin(self, now: float) -> None:
        self._old, self._new, self._began_at = self._new, {}, now
