"""The interactions that were sent, and the one answer that each may get: decides, does no I/O."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum

ANSWER_WITHIN_S = 3.0
"""https://discord.com/developers/docs/interactions/receiving-and-responding#responding-to-an-interaction"""
TOKEN_LIFE_S = 15 * 60.0

_TOKEN_HEAD = "aW50ZXJhY3Rpb246"  # noqa: S105 - not a secret: the fixed beginning of every simulated interaction token
_TOKEN_TAIL = "NkxvbmdlbmVkVG9rZW5PZkFTaW11bGF0ZWRJbnRlcmFjdGlvbldpdGhBUmVhbGlzdGljTGVuZ3RoMTIzNDU2Nzg5MA"  # noqa: S105


def token_of(interaction_id: str) -> str:
    """The interaction token of an interaction: opaque to clients, as long as Discord's."""
    return f"{_TOKEN_HEAD}{interaction_id}{_TOKEN_TAIL}"


class Outcome(Enum):
    """What became of one try to answer an interaction."""

    ACCEPTED = "accepted"
    UNKNOWN = "unknown"
    ALREADY_ANSWERED = "already_answered"
    LATE = "late"


@dataclass(slots=True)
class OpenInteraction:
    """An interaction that was sent. `type` is Discord's (2 command, 3 component, 4 autocomplete, 5 modal)."""

    id: str
    token: str
    type: int
    guild_id: int
    channel_id: int
    issued_at: float
    message_id: str | None = None
    answer_type: int | None = None
    answer_message_id: str | None = None
    followup_ids: tuple[str, ...] = ()


class InteractionBook:
    """Every interaction of the last while, by token; the oldest are forgotten beyond `limit`."""

    def __init__(self, limit: int = 100_000, *, answer_within_s: float = ANSWER_WITHIN_S) -> None:
        self._limit = limit
        self._answer_within_s = answer_within_s
        self._by_token: OrderedDict[str, OpenInteraction] = OrderedDict()

    def issue(self, interaction: OpenInteraction) -> None:
        """Record an interaction at the moment when it is sent."""
        self._by_token[interaction.token] = interaction
        if len(self._by_token) > self._limit:
            self._by_token.popitem(last=False)

    def find(self, token: str, now: float) -> OpenInteraction | None:
        """The interaction of this token, unless the token has expired."""
        found = self._by_token.get(token)
        return found if found is not None and now - found.issued_at <= TOKEN_LIFE_S else None

    def is_late(self, interaction: OpenInteraction, now: float) -> bool:
        """Whether its time for a first answer is over."""
        return now - interaction.issued_at > self._answer_within_s

    def answer(self, interaction_id: str, token: str, answer_type: int, now: float) -> Outcome:
        """Judge a callback and, if it is the first and in time, record its type."""
        found = self.find(token, now)
        if found is None or found.id != interaction_id:
            return Outcome.UNKNOWN
        if found.answer_type is not None:
            return Outcome.ALREADY_ANSWERED
        if self.is_late(found, now):
            return Outcome.LATE
        found.answer_type = answer_type
        return Outcome.ACCEPTED
