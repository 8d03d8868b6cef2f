"""The environment of a chaos run."""

from __future__ import annotations

import pytest

from eventbus.errors import ConfigurationError
from ops.chaos.records import parse_record
from ops.chaos.schedule import NODE_KINDS, Kind
from ops.chaos.settings import read_settings


def test_without_any_setting_there_are_twenty_rounds_of_all_faults() -> None:
    settings = read_settings({})

    assert (settings.seed, settings.rounds, settings.kinds, settings.soak_s) == (1, 20, tuple(Kind), None)


def test_kinds_are_named_with_commas() -> None:
    settings = read_settings({"CHAOS_FAULTS": "kill_worker, op_7", "CHAOS_SEED": "9", "CHAOS_ROUNDS": "300"})

    assert (settings.seed, settings.rounds, settings.kinds) == (9, 300, (Kind.KILL_WORKER, Kind.OP_7))


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_settings({"CHAOS_FAULTS": "earthquake", "CHAOS_ROUNDS": "many"})

    assert len(caught.value.problems) == 2


def test_a_given_broker_is_not_restarted() -> None:
    environment = {"AMQP_URL": "amqp://127.0.0.1/"}

    assert not set(read_settings(environment).kinds) & NODE_KINDS
    with pytest.raises(ConfigurationError, match="private broker"):
        read_settings({**environment, "CHAOS_FAULTS": "kill_broker"})


def test_a_soak_lasts_a_time_and_spares_one_process_of_each_role() -> None:
    settings = read_settings({"SOAK_SECONDS": "60"}, is_soak=True)

    assert (settings.soak_s, settings.size.spared_count) == (60, 1)


def test_a_frozen_worker_is_cut_before_its_sessions_end_and_late_heartbeats_are_seen_all_the_same() -> None:
    assert read_settings({}).session_timeout_s >= 60
    assert read_settings({}).heartbeat_s < 15


def test_a_record_says_what_was_handled_when_and_how_it_came() -> None:
    record = parse_record("abc:12 3.5 2 77 pd")

    assert (record.session_id, record.seq, record.at, record.shard, record.fencing_token) == ("abc", 12, 3.5, 2, 77)
    assert (record.replayed, record.redelivered) == (True, True)
    assert not parse_record("abc:12 3.5 2 77 -").replayed
