"""The bot is what hikari calls a gateway bot, on the oldest and on the newest hikari that is supported."""

from __future__ import annotations

import inspect
import math
import os
import subprocess
import sys
from pathlib import Path

import hikari
import pytest
from hikari import events, impl, traits

from consumers import Bot
from consumers.event_manager import EventManager
from consumers.event_types import EVENT_CLASSES
from consumers.shard_proxy import ShardProxy

ROOT = Path(__file__).parents[2]
OLDEST = ROOT / ".tools" / "hikari-2.6.0"
TRAITS = [
    trait
    for _, trait in inspect.getmembers(traits, inspect.isclass)
    if trait.__module__ == traits.__name__ and issubclass(traits.GatewayBotAware, trait)
]


def new_bot() -> Bot:
    return Bot("amqp://127.0.0.1/", "token")


@pytest.mark.parametrize("trait", TRAITS, ids=lambda trait: trait.__name__)
def test_the_bot_has_the_trait(trait: type) -> None:
    assert isinstance(new_bot(), trait)


def test_it_is_a_gateway_bot_for_whoever_asks_and_none_of_hikaris_own_code_runs() -> None:
    assert hikari.GatewayBot in Bot.__mro__  # `isinstance` only asks for the members
    assert [name for name in vars(hikari.GatewayBot) if not name.startswith("_") and name not in vars(Bot)] == []


def test_nothing_abstract_is_left() -> None:
    assert not inspect.isabstract(Bot)
    assert not inspect.isabstract(ShardProxy)
    assert issubclass(ShardProxy, hikari.api.GatewayShard)


@pytest.mark.parametrize("base", [*TRAITS, hikari.api.GatewayShard], ids=lambda base: base.__name__)
def test_every_method_takes_what_hikari_says(base: type) -> None:
    ours = ShardProxy if base is hikari.api.GatewayShard else Bot
    for name, method in inspect.getmembers(base, inspect.isfunction):
        if not name.startswith("_"):
            expected = inspect.signature(method).parameters
            assert expected.keys() <= inspect.signature(getattr(ours, name)).parameters.keys(), name


def test_before_the_start_it_is_an_idle_bot() -> None:
    bot = new_bot()
    assert not bot.is_alive
    assert bot.get_me() is None
    assert (bot.shard_count, dict(bot.shards), bot.heartbeat_latencies) == (0, {}, {})
    assert math.isnan(bot.heartbeat_latency)


def test_the_table_knows_every_event_type_that_hikari_consumes() -> None:
    consumed = {
        name.removeprefix("on_").upper()
        for name, _ in inspect.getmembers(impl.EventManagerImpl, inspect.isfunction)
        if name.startswith("on_")
    }
    missing_here = {name for name in EVENT_CLASSES if name not in consumed}
    assert consumed <= EVENT_CLASSES.keys()
    assert missing_here <= {"VOICE_CHANNEL_STATUS_UPDATE"}, "2.6.0 has no such event"


@pytest.mark.parametrize("event_type", sorted(EVENT_CLASSES))
def test_the_table_names_just_the_events_that_hikari_makes(event_type: str) -> None:
    method = getattr(EventManager, f"on_{event_type.lower()}", None)
    expected = getattr(method, "__events_bitmask__", None)  # hikari's own table; guild create and update are not in it
    if expected is None:
        assert event_type in {"GUILD_CREATE", "GUILD_UPDATE", "VOICE_CHANNEL_STATUS_UPDATE"}
        return
    mask = 0
    for cls in EVENT_CLASSES[event_type]:
        for base in cls.dispatches():
            mask |= base.bitmask()
    assert mask == expected


def test_every_concrete_event_of_a_dispatch_is_in_the_table() -> None:
    in_table = {cls for classes in EVENT_CLASSES.values() for cls in classes}
    concrete = {
        cls
        for _, cls in inspect.getmembers(events, inspect.isclass)
        if issubclass(cls, events.Event) and not inspect.isabstract(cls)
    }
    made_otherwise = {
        events.StartingEvent, events.StartedEvent, events.StoppingEvent, events.StoppedEvent, events.ExceptionEvent,
        events.ShardConnectedEvent, events.ShardDisconnectedEvent, events.ShardPayloadEvent,
    }  # fmt: skip
    left = {cls for cls in concrete - in_table - made_otherwise if not any(issubclass(one, cls) for one in in_table)}
    assert left == set()


@pytest.mark.skipif(hikari.__version__ == "2.6.0", reason="it is this test that runs there")
def test_all_this_holds_on_the_oldest_hikari_too() -> None:
    assert OLDEST.is_dir(), "run the project's set-up: it puts the oldest hikari there"
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            __file__,
            str(Path(__file__).with_name("test_consumer_event_manager.py")),
            str(Path(__file__).with_name("test_parity.py")),
            str(Path(__file__).with_name("test_parity_events.py")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(OLDEST)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1 skipped" in result.stdout, "it ran on the wrong hikari"
