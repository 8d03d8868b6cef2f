"""The log of answers is bounded, and its rows keep their numbers."""

from __future__ import annotations

import json

from gateway_sim.rest.answer_log import AnswerLog
from gateway_sim.rest.journal import InteractionAnswer


def numbers(log: AnswerLog, *, after: int = 0) -> list[int]:
    return [json.loads(line)["n"] for chunk in log.lines(after=after, chunk_rows=2) for line in chunk.splitlines()]


def test_the_oldest_rows_are_forgotten_and_the_others_keep_their_numbers() -> None:
    log = AnswerLog(limit=3)
    assert numbers(log) == []
    for number in range(5):
        log.add(InteractionAnswer(str(number), 4, "accepted", float(number)))
    assert numbers(log) == [3, 4, 5]
    assert numbers(log, after=4) == [5]
    assert numbers(log, after=9) == []
    assert json.loads(next(log.lines(after=4)))["interaction_id"] == "4"
