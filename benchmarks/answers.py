"""How interactions were answered: Discord's side of it, by the simulator's record. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.chaos.reliability.bounds import spread

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ANSWER_WITHIN_S = 3.0
"""https://discord.com/developers/docs/interactions/receiving-and-responding#responding-to-an-interaction"""


@dataclass(frozen=True, slots=True)
class SentInteraction:
    """`at` is in seconds since the epoch."""

    id: str
    at: float


def answer_figures(sent: Iterable[SentInteraction], answers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts, and the times from sending to the first answer; `answers` are rows of the simulator's `/answers`.

    `answered_late` are those whose first answer came after more than 3 s, `answered_twice` those that were answered
    again, whatever Discord said to it.
    """
    tries: Counter[str] = Counter()
    first_at: dict[str, float] = {}
    for answer in answers:
        tries[answer["interaction_id"]] += 1
        first_at.setdefault(answer["interaction_id"], answer["at"])
    known = list(sent)
    times_s = [first_at[one.id] - one.at for one in known if one.id in first_at]
    return {
        "interactions": len(known),
        "unanswered": len(known) - len(times_s),
        "answered_late": sum(seconds > ANSWER_WITHIN_S for seconds in times_s),
        "answered_twice": sum(tries[one.id] > 1 for one in known),
        **spread((seconds * 1000 for seconds in times_s), "answer", "ms", digits=1),
    }
