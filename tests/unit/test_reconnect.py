"""How a shard connects next: hosts that bring no session are left, identifies wait longer each time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from eventbus.messages import Session
from gateway_workers.close_codes import NextStep
from gateway_workers.reconnect import (
    FIRST_WAIT_S,
    IDENTIFY_RETRY_S,
    INVALID_SESSION_WAIT_S,
    MAX_IDENTIFY_RETRY_S,
    MAX_WAIT_S,
    STABLE_S,
    WORTH_AN_IDENTIFY_S,
    ReconnectPolicy,
)

GENERAL = "wss://gateway"
RESUME = "wss://resume"
SESSION = Session(session_id="abc", resume_url=RESUME, seq=7, shard_count=4)


def established(policy: ReconnectPolicy, session: Session = SESSION) -> ReconnectPolicy:
    policy.on_established(session)
    return policy


def resuming() -> ReconnectPolicy:
    return ReconnectPolicy(GENERAL, SESSION)


def test_a_new_shard_identifies_at_the_general_url_at_once() -> None:
    attempt = ReconnectPolicy(GENERAL, None).next_attempt()
    assert (attempt.url, attempt.session, attempt.wait_s, attempt.is_recovery) == (GENERAL, None, 0.0, False)


def test_a_session_that_was_handed_over_is_resumed_at_its_url_at_once() -> None:
    attempt = resuming().next_attempt()
    assert (attempt.url, attempt.session, attempt.wait_s) == (RESUME, SESSION, 0.0)


def test_a_session_without_a_resume_url_is_resumed_at_the_general_one() -> None:
    policy = ReconnectPolicy(GENERAL, SESSION.model_copy(update={"resume_url": ""}))
    assert policy.next_attempt().url == GENERAL
    policy.on_unanswered()
    assert policy.next_attempt().url == GENERAL


def test_a_drop_after_a_stable_session_is_followed_by_a_resume_at_once() -> None:
    policy = established(ReconnectPolicy(GENERAL, None))
    policy.on_end(NextStep.RESUME, established_s=STABLE_S)
    attempt = policy.next_attempt()
    assert (attempt.url, attempt.session, attempt.wait_s) == (RESUME, SESSION, 0.0)


def test_hosts_that_do_not_answer_take_turns_and_keep_the_session() -> None:
    policy, urls = resuming(), []
    for _ in range(5):
        attempt = policy.next_attempt()
        urls.append(attempt.url)
        assert attempt.session is SESSION
        policy.on_unanswered()
    assert urls == [RESUME, GENERAL, RESUME, GENERAL, RESUME]


def test_a_host_that_answers_but_brings_no_session_is_left_too() -> None:
    policy = resuming()
    policy.on_end(NextStep.RESUME, established_s=None)
    assert (policy.next_attempt().url, policy.next_attempt().session) == (GENERAL, SESSION)


def test_after_a_session_at_the_general_url_the_resume_host_is_tried_again() -> None:
    policy = resuming()
    policy.on_unanswered()
    established(policy).on_end(NextStep.RESUME, established_s=60.0)
    assert policy.next_attempt().url == RESUME


@given(st.integers(1, 60))
def test_waits_double_from_the_first_failure_up_to_a_bound(failures: int) -> None:
    policy = resuming()
    for _ in range(failures):
        policy.on_unanswered()
    assert policy.next_attempt().wait_s == min(FIRST_WAIT_S * 2 ** (failures - 1), MAX_WAIT_S)


def test_sessions_that_end_as_soon_as_they_begin_make_no_tight_loop() -> None:
    policy, waits = resuming(), []
    for _ in range(6):
        established(policy).on_end(NextStep.RESUME, established_s=0.01)
        waits.append(policy.next_attempt().wait_s)
    assert waits == [FIRST_WAIT_S * 2**round_ for round_ in range(6)]
    established(policy).on_end(NextStep.RESUME, established_s=10.0)
    assert policy.next_attempt().wait_s == 0.0


def test_a_session_that_is_gone_is_followed_by_an_identify_at_the_general_url_after_a_second() -> None:
    policy = established(resuming())
    policy.on_end(NextStep.IDENTIFY, established_s=100.0)
    attempt = policy.next_attempt()
    assert (attempt.url, attempt.session, attempt.is_recovery) == (GENERAL, None, True)
    assert attempt.wait_s == INVALID_SESSION_WAIT_S


def test_the_first_identify_of_a_shard_is_no_recovery_until_it_had_a_session() -> None:
    policy = ReconnectPolicy(GENERAL, None)
    policy.on_identify_sent()
    policy.on_end(NextStep.IDENTIFY, established_s=None)
    assert not policy.next_attempt().is_recovery
    established(policy).on_end(NextStep.IDENTIFY, established_s=5.0)
    assert policy.next_attempt().is_recovery


@given(st.integers(1, 40))
def test_identifies_without_ready_wait_longer_each_time(unanswered: int) -> None:
    policy = ReconnectPolicy(GENERAL, None)
    for _ in range(unanswered):
        policy.on_identify_sent()
        policy.on_end(NextStep.RESUME, established_s=None)
    patience_s = min(IDENTIFY_RETRY_S * 2 ** (unanswered - 1), MAX_IDENTIFY_RETRY_S)
    assert policy.next_attempt().wait_s >= patience_s


def test_a_day_long_outage_costs_a_small_part_of_the_identify_budget() -> None:
    policy, now, identifies = ReconnectPolicy(GENERAL, None), 0.0, 0
    while now < 86_400:
        now += policy.next_attempt().wait_s + 60.0
        policy.on_identify_sent()
        policy.on_end(NextStep.RESUME, established_s=None)
        identifies += 1
    assert identifies < 160


def test_a_session_that_lived_makes_the_next_identify_patient_no_more_and_a_short_one_does_not() -> None:
    policy = ReconnectPolicy(GENERAL, None)
    for _ in range(10):
        policy.on_identify_sent()
        policy.on_end(NextStep.RESUME, established_s=None)
    established(policy).on_end(NextStep.IDENTIFY, established_s=10.0)
    assert policy.next_attempt().wait_s == MAX_IDENTIFY_RETRY_S - 10.0
    established(policy).on_end(NextStep.IDENTIFY, established_s=WORTH_AN_IDENTIFY_S)
    assert policy.next_attempt().wait_s <= INVALID_SESSION_WAIT_S


def test_the_life_of_a_session_counts_towards_the_time_between_two_identifies() -> None:
    policy = ReconnectPolicy(GENERAL, None)
    for _ in range(5):
        policy.on_identify_sent()
        established(policy).on_end(NextStep.IDENTIFY, established_s=70.0)
    assert policy.next_attempt().wait_s == IDENTIFY_RETRY_S * 2**4 - 70.0


def test_sessions_that_discord_ends_at_once_spend_few_identifies_a_day() -> None:
    policy, spent, now = ReconnectPolicy(GENERAL, None), 0, 0.0
    while now < 86_400:
        now += policy.next_attempt().wait_s
        policy.on_identify_sent()
        spent += 1
        established(policy).on_end(NextStep.IDENTIFY, established_s=30.0)
        now += 30.0
    assert spent < 200


def test_a_day_without_an_answer_is_no_overflow() -> None:
    policy = ReconnectPolicy(GENERAL, None)
    for _ in range(5000):
        policy.on_unanswered()
        policy.on_identify_sent()
    assert policy.next_attempt().wait_s == MAX_IDENTIFY_RETRY_S


events = st.sampled_from(
    ["unanswered", "identify_sent", "established", "resume", "identify", "resume_early", "identify_early"]
)


@given(st.lists(events, max_size=60), st.booleans())
def test_an_identify_goes_to_the_general_url_and_no_wait_leaves_its_bounds(history: list[str], had: bool) -> None:
    policy = ReconnectPolicy(GENERAL, SESSION if had else None)
    for event in history:
        if event == "unanswered":
            policy.on_unanswered()
        elif event == "identify_sent":
            policy.on_identify_sent()
        elif event == "established":
            policy.on_established(SESSION)
        else:
            step = NextStep.RESUME if event.startswith("resume") else NextStep.IDENTIFY
            policy.on_end(step, established_s=None if event.endswith("early") else 5.0)
        attempt = policy.next_attempt()
        assert 0.0 <= attempt.wait_s <= MAX_IDENTIFY_RETRY_S
        assert attempt.session is policy.session
        assert attempt.url in ((GENERAL,) if attempt.session is None else (GENERAL, RESUME))
