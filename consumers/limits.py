"""How many dispatches of an event type a process handles at once."""

from __future__ import annotations

import difflib
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    Go = Callable[[], None]

MAX_LIMIT = 10_000


def parse_limits(text: str, known_types: Collection[str]) -> dict[str, int]:
    """Type → limit from `MESSAGE_CREATE=10,TYPING_START=1`. Raises ValueError that says what to change."""
    limits: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        event_type, equals, number = (one.strip() for one in part.partition("="))
        if not equals or not number.isascii() or not number.isdecimal() or not 1 <= int(number) <= MAX_LIMIT:
            raise ValueError(
                f"{part!r} is not like MESSAGE_CREATE=10: give a number from 1 to {MAX_LIMIT} for each type"
            )
        if event_type not in known_types:
            similar = difflib.get_close_matches(event_type.upper(), known_types, n=1)
            meant = f": did you mean {similar[0]}?" if similar else ": write it as Discord does, such as MESSAGE_CREATE"
            raise ValueError(f"there is no event type {event_type!r}{meant}")
        if event_type in limits:
            raise ValueError(f"{event_type} has two limits: give one")
        limits[event_type] = int(number)
    return limits


class TypeLimits:
    """Lets in what has room and lines up the rest, first come first served within a type; without a limit all go in."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self._room = dict(limits)
        self._waiting: dict[str, deque[Go]] = {event_type: deque() for event_type in limits}

    def enter(self, event_type: str | None, go: Go) -> None:
        """Call `go()` as soon as there is room; `leave` must be called afterwards."""
        if event_type not in self._room:
            go()
        elif self._room[event_type]:
            self._room[event_type] -= 1
            go()
        else:
            self._waiting[event_type].append(go)

    def leave(self, event_type: str | None) -> None:
        """One of the type has ended: the next goes in."""
        if event_type not in self._room:
            return
        if self._waiting[event_type]:
            self._waiting[event_type].popleft()()
        else:
            self._room[event_type] += 1
