"""Which dead letters are meant: by id, type, reason or age."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventbus.dead_letter import DeadLetter

_MESSAGE_ID = re.compile(r"[^:\s]+:\d+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_UNIT_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


@dataclass(frozen=True, slots=True)
class LetterChoice:
    """All that is given must match; `reason` is a part of the letter's, in any case. Nothing given matches all."""

    message_ids: frozenset[str] = frozenset()
    event_type: str | None = None
    reason: str | None = None
    older_than_s: float | None = None

    @property
    def is_everything(self) -> bool:
        """Whether every letter matches."""
        return self == LetterChoice()

    def matches(self, letter: DeadLetter, now: float) -> bool:
        """Whether `letter` is meant; `now` in seconds since the epoch. A letter of unknown age is not older."""
        age_s = letter.age_s(now)
        return (
            (not self.message_ids or letter.message_id in self.message_ids)
            and (self.event_type is None or letter.event_type == self.event_type)
            and (self.reason is None or self.reason.casefold() in letter.reason.casefold())
            and (self.older_than_s is None or (age_s is not None and age_s > self.older_than_s))
        )


def check_message_id(text: str) -> str:
    """`text` if it has the form of a dispatch's message id; else ValueError."""
    if not _MESSAGE_ID.fullmatch(text):
        raise ValueError(f"{text!r} is no message id: write session_id:seq, as `gw-ctl dead list` shows it")
    return text


def duration_s(text: str) -> float:
    """Seconds of "90s", "30m", "12h", "7d", "2w" or several of them, "1d12h"; else ValueError."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration: write a number and a unit, as in 90s, 30m, 12h, 7d or 1d12h")
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)
