"""RabbitMQ's sentences, as RabbitMQ 3.10 to 4 write them."""

from __future__ import annotations

from gateway_workers.broker_refusals import forbidden_exchange, missing_exchange, size_limit

MISSING = "NOT_FOUND - no exchange 'gw.event.TYPING_START' in vhost '/' (404)"
INTERNAL = "ACCESS_REFUSED - cannot publish to internal exchange 'gw.event.A' in vhost '/' (403)"
NOT_ALLOWED = "ACCESS_REFUSED - access to exchange 'gw.event.A' in vhost '/' refused for user 'bot' (403)"
TOO_LARGE = "PRECONDITION_FAILED - message size 2000001 is larger than configured max size 1000000 (406)"
TOO_LARGE_AT_ALL = "PRECONDITION_FAILED - message size 536870913 is larger than max size 536870912 (406)"
OTHERS = ("RabbitMQ was silent for 10 s", "NOT_FOUND - no queue 'gw.sessions' in vhost '/' (404)", "")


def test_each_sentence_says_one_thing() -> None:
    assert missing_exchange(MISSING) == "gw.event.TYPING_START"
    assert forbidden_exchange(INTERNAL) == forbidden_exchange(NOT_ALLOWED) == "gw.event.A"
    assert size_limit(TOO_LARGE) == 1_000_000
    assert size_limit(TOO_LARGE_AT_ALL) == 536_870_912


def test_no_other_sentence_is_taken_for_it() -> None:
    assert {missing_exchange(text) for text in (INTERNAL, NOT_ALLOWED, TOO_LARGE, *OTHERS)} == {None}
    assert {forbidden_exchange(text) for text in (MISSING, TOO_LARGE, *OTHERS)} == {None}
    assert {size_limit(text) for text in (MISSING, INTERNAL, NOT_ALLOWED, *OTHERS)} == {None}
