"""The pure rules: identify windows and budget, send window, replay buffer, payloads, shards."""

from __future__ import annotations

import itertools
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway_sim.compression import ZLIB_SUFFIX, PlainEncoder, ZlibStreamEncoder, ZstdStreamEncoder
from gateway_sim.dispatch import Dispatch
from gateway_sim.envelope import KEYS, KeyOrder, dispatch_payloads
from gateway_sim.faults import parse_fault
from gateway_sim.identify_gate import DAY_S, IdentifyAnswer, IdentifyGate
from gateway_sim.payload_rules import (
    Identify,
    Refusal,
    Resume,
    check_intents,
    check_shard,
    parse_identify,
    parse_payload,
    parse_resume,
)
from gateway_sim.referee import Received, Referee
from gateway_sim.replay_buffer import ReplayBuffer
from gateway_sim.send_window import SendWindow
from gateway_sim.session_directory import shard_of_guild
from gateway_sim.traffic_plan import Pace, parse_rate, parse_traffic


def _gate(**options: float) -> IdentifyGate:
    given_options = {"max_concurrency": 1, "total": 1000, "remaining": 1000, "window_s": 5.0, "now": 0.0} | options
    return IdentifyGate(**given_options)  # type: ignore[arg-type]


# --- identify


def test_identifies_of_a_bucket_must_lie_a_window_apart() -> None:
    gate = _gate()
    answers = [gate.identify(shard, now).answer for shard, now in ((0, 1.0), (1, 5.99), (2, 10.99))]
    assert answers == [IdentifyAnswer.ALLOWED, IdentifyAnswer.TOO_SOON, IdentifyAnswer.ALLOWED]


def test_a_refused_identify_starts_the_window_anew() -> None:
    gate = _gate()
    gate.identify(0, 0.0)
    gate.identify(0, 4.0)
    assert gate.identify(0, 8.0).answer is IdentifyAnswer.TOO_SOON
    assert gate.identify(0, 13.0).answer is IdentifyAnswer.ALLOWED


def test_buckets_do_not_touch_each_other() -> None:
    gate = _gate(max_concurrency=16)
    assert {gate.identify(shard, 0.0).answer for shard in range(16)} == {IdentifyAnswer.ALLOWED}
    assert gate.identify(16, 1.0).bucket == 0
    assert gate.identify(17, 1.0).answer is IdentifyAnswer.TOO_SOON


def test_an_identify_that_may_have_waited_in_our_socket_is_judged_by_the_kindest_moment() -> None:
    gate = _gate()
    gate.identify(0, 10.0, uncertainty_s=0.3)
    assert gate.identify(0, 14.8).answer is IdentifyAnswer.ALLOWED
    assert gate.identify(0, 19.7).answer is IdentifyAnswer.TOO_SOON


def test_the_budget_ends_and_comes_back_after_a_day() -> None:
    gate = _gate(total=3, remaining=2, window_s=0.0)
    assert [gate.identify(0, now).answer for now in (1.0, 2.0)] == [IdentifyAnswer.ALLOWED] * 2
    assert gate.identify(0, 3.0).answer is IdentifyAnswer.BUDGET_EXCEEDED
    assert gate.session_start_limit(DAY_S - 10.0) == {
        "total": 3,
        "remaining": 0,
        "reset_after": 10_000,
        "max_concurrency": 1,
    }
    assert gate.session_start_limit(DAY_S)["remaining"] == 3
    assert gate.identify(0, DAY_S + 1).answer is IdentifyAnswer.ALLOWED


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 20)), max_size=60), st.integers(1, 16))
def test_no_two_allowed_identifies_of_a_bucket_lie_within_a_window(
    steps: list[tuple[int, float]], max_concurrency: int
) -> None:
    gate = _gate(max_concurrency=max_concurrency)
    allowed: dict[int, list[float]] = {}
    now = 0.0
    for shard, pause in steps:
        now += pause
        if gate.identify(shard, now).answer is IdentifyAnswer.ALLOWED:
            allowed.setdefault(shard % max_concurrency, []).append(now)
    for times in allowed.values():
        assert all(later - earlier >= 5.0 for earlier, later in itertools.pairwise(times))


def test_impossible_limits_are_refused() -> None:
    with pytest.raises(ValueError, match="remaining <= total"):
        _gate(remaining=2000)


# --- sends


def test_120_sends_are_allowed_in_any_60_seconds_and_no_more() -> None:
    window = SendWindow()
    assert all(window.allows(0.0) for _ in range(60))
    assert all(window.allows(59.0) for _ in range(60))
    assert not window.allows(59.9)
    assert all(window.allows(60.0) for _ in range(59))
    assert not window.allows(60.1)


def test_a_payload_that_may_have_waited_is_not_counted_as_late() -> None:
    window = SendWindow(limit=1)
    assert window.allows(1.0, uncertainty_s=0.5)
    assert window.allows(60.5)
    assert not window.allows(120.4)


# --- replay


def _entries(first: int, count: int, at: float = 0.0) -> list[tuple[int, float, Dispatch]]:
    return [(seq, at, Dispatch("A", 1, str(seq), b"{}")) for seq in range(first, first + count)]


def test_a_replay_begins_after_the_seq_and_is_in_order() -> None:
    buffer = ReplayBuffer(depth=10, age_s=60.0)
    buffer.extend(_entries(1, 5))
    assert [entry[0] for entry in buffer.after(3, 0.0) or []] == [4, 5]
    assert buffer.after(5, 0.0) == []


def test_what_is_too_deep_is_forgotten_exactly_at_the_depth() -> None:
    buffer = ReplayBuffer(depth=10, age_s=60.0)
    buffer.extend(_entries(1, 15))
    assert [entry[0] for entry in buffer.after(5, 0.0) or []] == list(range(6, 16))
    assert buffer.after(4, 0.0) is None


def test_what_is_too_old_is_forgotten() -> None:
    buffer = ReplayBuffer(depth=10, age_s=60.0)
    buffer.extend(_entries(1, 2, at=0.0))
    buffer.extend(_entries(3, 2, at=50.0))
    assert buffer.after(2, 100.0) is not None
    assert buffer.after(1, 100.0) is None
    assert len(buffer) == 2


@given(st.lists(st.integers(1, 900), max_size=12), st.integers(1, 50), st.integers(0, 6000))
def test_a_replay_is_whole_or_refused(lumps: list[int], depth: int, seq: int) -> None:
    buffer = ReplayBuffer(depth=depth, age_s=60.0)
    last = 0
    for lump in lumps:
        buffer.extend(_entries(last + 1, lump))
        last += lump
        assert len(buffer) <= depth + 1500
    missed = buffer.after(seq, 0.0)
    if seq >= last - depth:
        assert [entry[0] for entry in missed or []] == list(range(seq + 1, last + 1))
    else:
        assert missed is None


# --- payloads


def _outcome(decide: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return decide(*arguments, **options)
    except Refusal as refusal:
        return refusal


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused_with_a_code_and_a_sentence(raw: bytes) -> None:
    outcome = _outcome(parse_payload, raw)
    assert isinstance(outcome, tuple) or (outcome.code in {4001, 4002} and outcome.detail)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["token", "intents", "shard", "properties", "presence", "session_id", "seq"])


@given(st.dictionaries(FIELDS, JSON) | JSON)
def test_any_identify_and_resume_is_taken_or_refused(d: object) -> None:
    for parse in (parse_identify, parse_resume):
        outcome = _outcome(parse, d)
        assert isinstance(outcome, Identify | Resume) or outcome.code in {4002, 4004, 4013}


def test_the_limit_of_4096_bytes_is_exact() -> None:
    fits = b'{"op":1,"d":null,"x":"' + b"x" * (4096 - 24) + b'"}'
    assert len(fits) == 4096
    assert parse_payload(fits) == (1, None)
    with pytest.raises(Refusal, match="4097"):
        parse_payload(fits + b" ")


@pytest.mark.parametrize(
    ("shard", "code"), [((0, 4), None), ((4, 4), 4010), ((0, 6), 4010), ((0, 0), 4010), ((1, 8), 4011)]
)
def test_shards_are_checked_against_count_multiple_and_size(shard: tuple[int, int], code: int | None) -> None:
    guild_count = 11 if shard == (1, 8) else 10
    refusal = _outcome(check_shard, shard, required_multiple=4, guild_count=guild_count, max_guilds=10)
    assert (refusal.code if refusal else None) == code


def test_only_disallowed_intents_are_refused() -> None:
    check_intents(0b0101, disallowed=0b1010)
    with pytest.raises(Refusal) as refused:
        check_intents(0b0111, disallowed=0b1010)
    assert refused.value.code == 4014


def test_a_guild_belongs_to_the_shard_of_its_id() -> None:
    assert shard_of_guild(197038439483310086, 16) == (197038439483310086 >> 22) % 16


# --- envelopes and frames


@pytest.mark.parametrize("order", [None, ["d", "op", "s", "t"]])
def test_a_shuffled_envelope_says_the_same(order: list[str] | None) -> None:
    entries = [(seq, 0.0, Dispatch("MESSAGE_CREATE", 1, "5", b'{"content":"\\"t\\":1"}')) for seq in range(1, 50)]
    plain = [orjson.loads(payload) for payload in dispatch_payloads(entries)]
    shuffled = [orjson.loads(payload) for payload in KeyOrder(order, random.Random(1)).payloads(entries)]
    assert shuffled == plain
    orders = {tuple(payload) for payload in shuffled}
    assert orders == {tuple(order)} if order else len(orders) > 10
    assert {frozenset(keys) for keys in orders} == {frozenset(KEYS)}


def _messages(data: bytes) -> Iterator[bytes]:
    """Take websocket frames apart."""
    while data:
        assert data[0] in {0x81, 0x82}
        short = data[1]
        head = {126: 4, 127: 10}.get(short, 2)
        length = short if head == 2 else int.from_bytes(data[2:head], "big")
        assert len(data) >= head + length
        yield data[head : head + length]
        data = data[head + length :]


@pytest.mark.parametrize("encoder", [PlainEncoder(), ZlibStreamEncoder(), ZstdStreamEncoder()])
@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_have_the_right_length_at_every_border(encoder: PlainEncoder, size: int) -> None:
    lengths = [len(message) for message in _messages(encoder.encode([b"x" * size, b"y"]))]
    assert len(lengths) >= 2
    if isinstance(encoder, PlainEncoder):
        assert lengths == [size, 1]


@given(st.lists(st.binary(max_size=60_000), min_size=1, max_size=6))
def test_split_zlib_payloads_end_with_the_whole_suffix_and_with_nothing_else(payloads: list[bytes]) -> None:
    encoder, inflate = ZlibStreamEncoder(), zlib.decompressobj()
    inflate.decompress(b"".join(_messages(encoder.encode([b"{}"] * 62))))  # the 64th payload is split in any case
    buffer = b""
    got = []
    for message in _messages(encoder.encode(payloads)):
        buffer += message
        if message[-4:] == ZLIB_SUFFIX:
            got.append(inflate.decompress(buffer))
            buffer = b""
    assert got == payloads


# --- the record


def test_secrets_are_masked_in_the_record() -> None:
    referee = Referee()
    referee.command(Received(2, None, None, {"token": "secret", "intents": 1}, 0.0))
    assert "secret" not in str(referee.received)
    assert referee.received[0].d["intents"] == 1


def test_heartbeats_are_counted_but_not_kept() -> None:
    referee = Referee()
    referee.command(Received(1, 0, "s", 5, 0.0))
    assert referee.summary()["gateway_commands"] == {"1": 1}
    assert not referee.received


# --- requests


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "there is no fault None"),
        ({"kind": "explode"}, "use one of"),
        ({"kind": "drop", "seconds": 1}, "has no option seconds"),
        ({"kind": "stall"}, "seconds must be a number"),
        ({"kind": "stall", "seconds": -1}, "seconds must be a number"),
        ({"kind": "close", "code": 999}, "code must be a whole number"),
        ({"kind": "close", "code": True}, "code must be a whole number"),
        ({"kind": "resume_host", "mode": "gone"}, "mode must be one of"),
        ({"kind": "envelope", "order": ["t", "s"]}, "permutation"),
        ({"kind": "drop", "shard": "0"}, "shard must be a shard id"),
        ({"kind": "invalid_session", "resumable": 1}, "true or false"),
    ],
)
def test_a_bad_fault_is_refused_with_what_to_change(body: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_fault(body)


@pytest.mark.parametrize("value", ["fast", -1, None, 2_000_000, "nan"])
def test_a_bad_rate_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="rate must be"):
        parse_rate(value)


def test_a_traffic_request_takes_the_defaults_it_leaves_out() -> None:
    plan = parse_traffic({}, default_mix="messages", default_seed=7)
    assert (plan.rate, plan.mix, plan.shards, plan.total, plan.seed) == (None, "messages", None, None, 7)
    assert not parse_traffic({"shards": [1]}, default_mix="mixed", default_seed=0).covers(0)


def test_a_pace_owes_what_the_rate_says_and_drops_old_debts() -> None:
    pace = Pace(100.0, now=0.0)
    assert pace.due(0.05) == 5
    pace.paid(5)
    assert pace.due(0.055) == 0
    assert pace.due(0.0601) == 1
    assert pace.due(100.0) == 100
    assert pace.dropped > 9_000
