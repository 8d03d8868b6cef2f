"""The decisions of the reliability runs: which run, which bounds, what a dip is, what is poison."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from eventbus.errors import ConfigurationError
from ops.chaos.reliability.bounds import Bound, broken_bounds, spread
from ops.chaos.reliability.coordinator_kills import rates
from ops.chaos.reliability.poison import is_poison
from ops.chaos.reliability.settings import RUNS, read_reliability_settings
from ops.chaos.stage import EXAMPLES

if TYPE_CHECKING:
    from types import ModuleType


def test_a_run_has_its_full_count_unless_a_shorter_one_is_asked_for() -> None:
    assert read_reliability_settings(["worker_kills"], {}).count == 300

    settings = read_reliability_settings(["freezes"], {"RELIABILITY_COUNT": "5", "RELIABILITY_RATE": "80"})

    assert (settings.name, settings.count) == ("freezes", 5)
    assert settings.make_scenario().settings.rate == 10.0


def test_all_problems_of_a_run_are_reported_together() -> None:
    environment = {"RELIABILITY_COUNT": "few", "RELIABILITY_SEED": "-1"}

    with pytest.raises(ConfigurationError, match="worker_kills") as caught:
        read_reliability_settings(["earthquakes"], environment)

    assert len(caught.value.problems) == 3


def test_a_given_broker_is_used_and_is_not_restarted() -> None:
    environment = {"AMQP_URL": "amqp://127.0.0.1/"}

    assert read_reliability_settings(["poison"], environment).make_scenario().settings.amqp_url == "amqp://127.0.0.1/"
    with pytest.raises(ConfigurationError, match="private broker"):
        read_reliability_settings(["broker_outages"], environment)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_measured_nothing_has_figures_without_values_and_is_not_done(name: str) -> None:
    scenario = read_reliability_settings([name], {}).make_scenario()

    assert not scenario.is_done
    assert scenario.settings.size.capacity * (scenario.settings.size.workers - scenario.settings.size.standbys) >= 8


def test_a_bound_holds_up_to_its_limits_and_what_was_not_measured_breaks_it() -> None:
    bounds = [Bound("gap_ms", most=500.0), Bound("rate", least=0.9)]

    assert broken_bounds(bounds, {"gap_ms": 500.0, "rate": 0.9}) == []
    assert broken_bounds(bounds, {"gap_ms": 501, "rate": 0.5}) == [
        "gap_ms is 501, more than 500",
        "rate is 0.5, less than 0.9",
    ]
    assert broken_bounds(bounds, {"gap_ms": None, "rate": 1.0}) == ["gap_ms was not measured"]


def test_a_spread_names_its_percentiles() -> None:
    assert spread(range(1, 201), "gap", "ms") == {"gap_p50_ms": 101, "gap_p99_ms": 199, "gap_max_ms": 200}
    assert set(spread([], "gap", "ms").values()) == {None}


def test_a_dip_that_each_kill_makes_shows_in_the_mean_of_its_distance_and_noise_does_not() -> None:
    quiet = [100, 80, 120, 90, 110] * 4

    noisy = rates([[100, 80, 120], [80, 120, 100], [120, 100, 80]], quiet)
    dip = rates([[100, 20, 120], [100, 30, 100], [100, 10, 100]], quiet)

    assert noisy["worst_mean_rate_after_kill"] == 1.0
    assert dip["worst_mean_rate_after_kill"] == 0.2
    assert rates([], quiet) == {}


def test_the_bot_and_the_judge_agree_on_what_is_poison() -> None:
    bot = _recording_bot()
    message_ids = [f"session:{number}" for number in range(20_000)]
    poisoned = [one for one in message_ids if is_poison(one)]

    assert poisoned == [one for one in message_ids if bot.is_poison(one, 1.0)]
    assert 100 < len(poisoned) < 300


def _recording_bot() -> ModuleType:
    spec = importlib.util.spec_from_file_location("recording_bot", EXAMPLES / "recording_bot.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
