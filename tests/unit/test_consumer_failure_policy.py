"""What becomes of dispatches that fail, and of those that nobody lives to settle."""

from __future__ import annotations

import pytest

from consumers.dispatch import Dispatch
from consumers.errors import MalformedDispatchError
from consumers.failure_policy import ISOLATE_LATE, MAX_DELAY_S, Admission, FailurePolicy, OnError, delay_after
from consumers.frame import Frame, decode

RETRY = FailurePolicy(OnError.RETRY, max_attempts=5, max_deliveries=5)
HEADERS = {"shard": 0, "shard_count": 1, "fencing_token": 5, "replayed": False, "received_at": 1000.0}


def test_the_delay_doubles_up_to_a_bound() -> None:
    assert [delay_after(count) for count in range(1, 9)] == [1, 2, 4, 8, 16, 32, 64, MAX_DELAY_S]


def test_attempts_are_bounded() -> None:
    delays = [RETRY.retry_delay_s(attempt_count=count, interaction_age_s=None) for count in range(1, 7)]
    assert delays == [1, 2, 4, 8, None, None]


@pytest.mark.parametrize("on_error", [OnError.DEAD_LETTER, OnError.ACK])
def test_only_retry_tries_again(on_error: OnError) -> None:
    assert FailurePolicy(on_error).retry_delay_s(attempt_count=1, interaction_age_s=None) is None


def test_an_interaction_is_not_tried_again_when_its_token_will_have_ended() -> None:
    assert RETRY.retry_delay_s(attempt_count=3, interaction_age_s=890.0) == 4
    assert RETRY.retry_delay_s(attempt_count=3, interaction_age_s=897.0) is None


@pytest.mark.parametrize(
    ("unsettled_count", "is_isolated", "admission"),
    [
        (0, False, Admission.HANDLE),
        (1, False, Admission.HANDLE),
        (2, False, Admission.ISOLATE),
        (4, False, Admission.ISOLATE),
        (2, True, Admission.HANDLE),
        (4, True, Admission.HANDLE),
        (5, True, Admission.DEAD_LETTER),
        (5, False, Admission.DEAD_LETTER),
    ],
)
def test_what_comes_again_and_again_is_handled_alone_and_then_no_more(
    unsettled_count: int, is_isolated: bool, admission: Admission
) -> None:
    assert RETRY.admit(unsettled_count=unsettled_count, is_isolated=is_isolated) is admission


def read(**headers: object) -> Frame:
    body = b'{"t":"MESSAGE_CREATE","op":0,"s":7,"d":{}}'
    return decode(body, event_type=None, message_id="s:7", headers={**HEADERS, **headers}, redelivered=False)


def test_the_headers_of_a_copy_are_read() -> None:
    plain = read()
    assert (plain.dispatch.attempt, plain.dispatch.resumed_from) == (1, None)
    assert (plain.sent_again, plain.unsettled_before) == (0, 0)
    copy = read(failed_attempts=2, resumed_from=40, retried=1, unsettled_deliveries=3)
    assert (copy.dispatch.attempt, copy.dispatch.resumed_from) == (3, 40)
    assert (copy.sent_again, copy.unsettled_before) == (1, 3)


@pytest.mark.parametrize("name", ["failed_attempts", "resumed_from", "retried", "unsettled_deliveries"])
def test_a_header_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(MalformedDispatchError, match=name):
        read(**{name: "many"})


def interaction(payload: object, received_at: float = 1000.0) -> Frame:
    return Frame(Dispatch(0, 1, "s", 1, "INTERACTION_CREATE", "s:1", 1, False, False, received_at), payload)


def test_an_interaction_is_as_old_as_its_id_says() -> None:
    made_at = 1_700_000_000
    snowflake = str((made_at * 1000 - 1_420_070_400_000) << 22)
    assert interaction({"id": snowflake}).interaction_age_s(made_at + 60.0) == pytest.approx(60)
    assert interaction({"id": "what"}).interaction_age_s(1030.0) == 30
    assert interaction([]).interaction_age_s(1030.0) == 30
    assert read().interaction_age_s(1030.0) is None


def test_where_the_order_counts_two_ends_in_a_row_cost_no_place() -> None:
    policy = FailurePolicy(isolate_after=ISOLATE_LATE)
    assert policy.admit(unsettled_count=2, is_isolated=False) is Admission.HANDLE
    assert policy.admit(unsettled_count=3, is_isolated=False) is Admission.ISOLATE
