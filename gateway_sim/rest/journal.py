"""What clients asked of REST, and how they answered interactions: the evidence for the verdict."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from gateway_sim.rest.answer_log import AnswerLog

_MOST_UNKNOWN = 1000


@dataclass(frozen=True, slots=True)
class RestRequest:
    """One request. `body` is its JSON (of a multipart form, its payload_json), `at` Unix seconds."""

    method: str
    path: str
    body: Any
    status: int
    at: float


@dataclass(frozen=True, slots=True)
class InteractionAnswer:
    """One try to answer an interaction. `type` is Discord's callback type; only outcome `accepted` counts."""

    interaction_id: str
    type: int
    outcome: str
    at: float


class RestJournal:
    """The last `limit` requests, the answers of the last `limit` interactions, and counts over all time."""

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self.requests: deque[RestRequest] = deque(maxlen=limit)
        self.request_count = 0
        self.rate_limited_count = 0
        self.late_count = 0
        self.repeated_count = 0
        self.unknown_routes: Counter[str] = Counter()
        """How often each unknown "METHOD /path" was asked for."""
        self.answer_log = AnswerLog()
        self._answers: OrderedDict[str, list[InteractionAnswer]] = OrderedDict()

    def record(self, request: RestRequest) -> None:
        """Keep a request that was answered."""
        self.requests.append(request)
        self.request_count += 1
        self.rate_limited_count += request.status == 429

    def record_unknown_route(self, method: str, path: str) -> None:
        """Count a request to a route that the simulator does not know."""
        key = f"{method} {path}"
        if key in self.unknown_routes or len(self.unknown_routes) < _MOST_UNKNOWN:
            self.unknown_routes[key] += 1

    def record_answer(self, answer: InteractionAnswer) -> None:
        """Keep a try to answer an interaction."""
        self.late_count += answer.outcome == "late"
        self.repeated_count += answer.outcome == "already_answered"
        self.answer_log.add(answer)
        self._answers.setdefault(answer.interaction_id, []).append(answer)
        if len(self._answers) > self._limit:
            self._answers.popitem(last=False)

    def answers_of(self, interaction_id: str) -> list[InteractionAnswer]:
        """Every try to answer this interaction, in order of arrival."""
        return list(self._answers.get(interaction_id, ()))

    def is_answered_once(self, interaction_id: str) -> bool:
        """Whether exactly one try was made to answer this interaction, and accepted."""
        return [answer.outcome for answer in self.answers_of(interaction_id)] == ["accepted"]

    def to_json(self, *, after: int = 0) -> dict[str, Any]:
        """All of it as a JSON object: counts, `unknown_routes`, `answers` by interaction id, `requests`.

        `after`: leave out that many requests, the first ones over all time.
        """
        skipped = max(0, after - (self.request_count - len(self.requests)))
        return {
            "request_count": self.request_count,
            "rate_limited_count": self.rate_limited_count,
            "late_count": self.late_count,
            "repeated_count": self.repeated_count,
            "unknown_routes": dict(self.unknown_routes),
            "answers": {key: [asdict(answer) for answer in answers] for key, answers in self._answers.items()},
            "requests": [asdict(request) for request in islice(self.requests, skipped, None)],
        }
