"""A bot in a script of one's own: it starts, runs, ends and is found again as hikari's GatewayBot is."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hikari
import pytest

from consumers import Bot
from eventbus import messages
from eventbus.errors import ConfigurationError, RelayError
from tests.waiting import eventually
from tests.wire import consume_rig
from tests.wire.consume_rig import BOT_TOKEN, SHARD_COUNT, ConsumeProcess, Rig
from tests.wire.shard_holder import stored_presences

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


SCRIPT = Path(__file__).with_name("own_script.py")
READY = {
    "v": 10, "guilds": [], "session_id": "s", "resume_gateway_url": "wss://127.0.0.1/", "shard": [0, 2],
    "application": {"id": "9", "flags": 0},
    "user": {"id": "9", "username": "b", "discriminator": "0", "avatar": None, "global_name": None, "bot": True,
             "mfa_enabled": True, "flags": 0, "verified": True, "locale": "en-US", "email": None},
}  # fmt: skip


def run_script(rig: Rig, how: dict[str, Any] | None = None, **environment: str) -> ConsumeProcess:
    full = rig.fleet.environment | {"GW_GROUP": rig.group, "RECORD_FILE": str(rig.record_file)} | environment
    full["HOW"] = json.dumps(how or {})
    process = ConsumeProcess.of_script(SCRIPT, full, rig.directory / f"script{len(rig.processes)}.log")
    rig.processes.append(process)
    return process


async def running(rig: Rig, how: dict[str, Any] | None = None) -> ConsumeProcess:
    process = run_script(rig, how)
    await process.until_logged("consuming")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_run_works_until_a_signal_and_returns(rig: Rig, number: signal.Signals) -> None:
    process = await running(rig, {"coroutine_tracking_depth": 3})
    await rig.say("hello")
    await rig.until_recorded("end", content="hello")
    process.signal(number)
    assert await process.wait() == 0
    assert rig.recorded("StoppedEvent")
    assert rig.recorded("after", loop_is_closed=True, executor_is_shut=False, is_alive=False)
    assert rig.recorded("loop", is_the_scripts=True, debug=False, depth=3)
    assert process.sentences == []


async def test_run_returns_when_a_handler_closes_the_bot(rig: Rig) -> None:
    process = await running(rig, {"close_loop": False, "close_passed_executor": True, "asyncio_debug": True})
    await rig.say("close")
    assert await process.wait() == 0
    assert rig.recorded("after", loop_is_closed=False, executor_is_shut=True)
    assert rig.recorded("loop", debug=True)
    assert await rig.has_settled_all()


async def test_an_interrupt_is_raised_again_if_that_is_wanted(rig: Rig) -> None:
    process = await running(rig, {"propagate_interrupts": True})
    assert await process.stop() == 0
    assert rig.recorded("interrupt", number=signal.SIGTERM)
    assert rig.recorded("StoppedEvent")


async def test_without_signal_handlers_a_keyboard_interrupt_still_closes_the_bot(rig: Rig) -> None:
    process = await running(rig, {"enable_signal_handlers": False})
    process.signal(signal.SIGINT)
    assert await process.wait() != 0
    assert rig.recorded("StoppedEvent")
    assert "KeyboardInterrupt" in process.sentences


async def test_run_works_in_a_thread_that_is_not_the_main_one(rig: Rig) -> None:
    process = await running(rig, {"in_thread": True})
    await rig.say("close")
    assert await process.wait() == 0
    assert rig.recorded("after", is_alive=False)


async def test_a_broker_that_is_away_is_a_sentence_and_an_exit_code(rig: Rig) -> None:
    process = run_script(rig, AMQP_URL="amqp://guest:guest@127.0.0.1:9/", GW_CONNECT_TIMEOUT="0.1")
    assert await process.wait() == 1
    assert len(process.sentences) == 1
    assert process.sentences[0].startswith("bot: no RabbitMQ answers")


async def test_the_first_presence_is_stored_for_every_shard(rig: Rig) -> None:
    process = await running(rig, {"activity": "chess", "status": "idle", "afk": True})
    (stored,) = await stored_presences(rig.observer, rig.names, count=1)
    record = messages.PresenceRecord.model_validate_json(stored.body)
    assert (record.shards, record.is_first) == (None, True)
    assert (record.d["status"], record.d["afk"], record.d["since"]) == ("idle", True, None)
    assert [activity["name"] for activity in record.d["activities"]] == ["chess"]
    assert await process.stop() == 0


# In this process


@pytest.fixture
async def bot(rig: Rig) -> AsyncIterator[Bot]:
    made = Bot(
        rig.fleet.broker_url, BOT_TOKEN, namespace=rig.names.namespace, group=rig.group, rest_url=rig.fleet.rest_url
    )
    yield made
    if made.is_alive:
        await made.close()


async def test_a_bot_is_started_joined_by_several_closed_and_started_again(bot: Bot) -> None:
    lived: list[str] = []
    for event in (hikari.StartingEvent, hikari.StartedEvent, hikari.StoppingEvent, hikari.StoppedEvent):

        async def on_lifetime(event: hikari.Event) -> None:
            lived.append(type(event).__name__)

        bot.subscribe(event, on_lifetime)
    for _ in range(2):
        await bot.start(check_for_updates=True)
        assert bot.is_alive
        assert list(bot.shards) == list(range(SHARD_COUNT))
        assert bot.get_me() is not None
        with pytest.raises(hikari.ComponentStateConflictError):
            await bot.start()
        joining = [asyncio.create_task(bot.join()) for _ in range(2)]
        await asyncio.gather(bot.close(), bot.close())
        await asyncio.gather(*joining)
        assert not bot.is_alive
        assert (bot.shard_count, dict(bot.shards), bot.get_me()) == (0, {}, None)
        with pytest.raises(hikari.ComponentStateConflictError):
            await bot.close()
        with pytest.raises(hikari.ComponentStateConflictError):
            await bot.update_presence(status=hikari.Status.IDLE)
    assert lived == ["StartingEvent", "StartedEvent", "StoppingEvent", "StoppedEvent"] * 2


async def test_a_bot_that_is_closed_while_it_starts_says_so(bot: Bot) -> None:
    starting = asyncio.create_task(bot.start())
    await asyncio.sleep(0)
    await bot.close()
    with pytest.raises(hikari.ComponentStateConflictError, match="closed while it started"):
        await starting
    assert not bot.is_alive


async def test_a_start_that_is_refused_leaves_the_bot_as_it_was(bot: Bot) -> None:
    with pytest.raises(ConfigurationError) as raised:
        await bot.start(shard_ids=[0], shard_count=1)
    assert len(raised.value.problems) == 2
    assert not bot.is_alive


async def test_a_start_without_a_coordinator_raises_what_it_waited_for(rig: Rig) -> None:
    bot = Bot(
        rig.fleet.broker_url, BOT_TOKEN, namespace=f"{rig.names.namespace}-none", rest_url=rig.fleet.rest_url,
        connect_timeout_s=3,
    )  # fmt: skip
    with pytest.raises(RelayError, match="coordinator"):
        await bot.start()
    assert not bot.is_alive


@pytest.mark.long
async def test_a_running_bot_waits_and_streams_what_the_group_gets(bot: Bot, rig: Rig) -> None:
    await bot.start()
    waiting = asyncio.create_task(
        bot.wait_for(hikari.DMMessageCreateEvent, timeout=30, predicate=lambda event: event.content == "m3")
    )
    with bot.stream(hikari.DMMessageCreateEvent, timeout=30).filter(lambda event: event.content != "m2") as stream:
        await eventually(lambda: rig.is_wanted("MESSAGE_CREATE", consume_rig.message("first")))
        for number in range(1, 5):
            await rig.say(f"m{number}")
        contents = [event.content async for event in stream.filter(lambda event: event.content != "first").limit(3)]
    assert contents == ["m1", "m3", "m4"]
    assert (await waiting).content == "m3"

    async def is_unbound() -> bool:
        return not await rig.is_wanted("MESSAGE_CREATE", consume_rig.message("nobody"))

    await eventually(is_unbound)


async def test_intents_that_the_fleet_lacks_are_warned_of(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    bot = Bot(
        rig.fleet.broker_url, BOT_TOKEN, namespace=rig.names.namespace, group=rig.group, rest_url=rig.fleet.rest_url,
        intents=hikari.Intents.ALL_UNPRIVILEGED | hikari.Intents.GUILD_MEMBERS,
    )  # fmt: skip
    await bot.start()
    await bot.close()
    warnings = [record.getMessage() for record in caplog.records if getattr(record, "action", "") == "lacking_intents"]
    assert len(warnings) == 1
    assert "GUILD_MEMBERS" in warnings[0]
    assert bot.intents == hikari.Intents.ALL_UNPRIVILEGED


async def test_json_of_rest_is_read_and_written_with_what_was_given(rig: Rig) -> None:
    read, written = list[bytes | str](), list[Any]()

    def loads(body: bytes | str) -> Any:
        read.append(body)
        return json.loads(body)

    def dumps(body: Any) -> bytes:
        written.append(body)
        return json.dumps(body).encode()

    bot = Bot(rig.fleet.broker_url, BOT_TOKEN, rest_url=rig.fleet.rest_url, loads=loads, dumps=dumps)
    bot.rest.start()
    try:
        with contextlib.suppress(hikari.NotFoundError):
            await bot.rest.fetch_my_user()
            await bot.rest.create_message(1, "hello")
    finally:
        await bot.rest.close()
    assert written[0]["content"] == "hello"
    assert read


async def test_run_inside_a_loop_says_what_to_do_instead(bot: Bot) -> None:
    with pytest.raises(RuntimeError, match=r"await bot\.start\(\)"):
        bot.run()
