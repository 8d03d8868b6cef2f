"""A fleet from a script of one's own: `run_subprocesses`, `spawn_subprocesses`, `run_server`, with real processes."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import consumers
from consumers.errors import ConsumersKeepEndingError, FleetEndedError
from eventbus.errors import ConfigurationError
from eventbus.names import Names
from tests.waiting import eventually
from tests.wire import consume_bots, consume_rig
from tests.wire.consume_rig import BOT_TOKEN, ConsumeProcess, Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel

SCRIPT = Path(__file__).with_name("own_fleet.py")
START_S = 120.0  # half a dozen processes, on a loaded machine


@pytest.fixture
async def empty(fleet: consume_rig.Fleet, observer: AbstractChannel, tmp_path: Path) -> AsyncIterator[Rig]:
    """A namespace where nothing runs yet."""
    names = Names(f"script-{secrets.token_hex(4)}")
    async with consume_rig.rig(
        consume_rig.Fleet(fleet.broker_url, names, fleet.rest_url, fleet.control_url), observer, tmp_path
    ) as tested:
        yield tested


def run_script(rig: Rig, function: str, *, unguarded: bool = False, **options: object) -> ConsumeProcess:
    environment = rig.fleet.environment | {
        "GW_GROUP": rig.group,
        "RECORD_FILE": str(rig.record_file),
        "FUNCTION": function,
        "OPTIONS": json.dumps(options),
    }
    if unguarded:
        environment["UNGUARDED"] = "1"
    process = ConsumeProcess.of_script(SCRIPT, environment, rig.directory / "script.log")
    rig.processes.append(process)
    return process


def descendants(pid: int) -> set[int]:
    children = {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return children.union(*(descendants(child) for child in children)) if children else set()


async def until_started(rig: Rig, count: int = 1) -> list[dict[str, Any]]:
    async with asyncio.timeout(START_S):
        while len(rig.recorded("StartedEvent")) < count:  # noqa: ASYNC110 - processes
            await asyncio.sleep(0.05)
    return rig.recorded("StartedEvent")


async def say_when_bound(rig: Rig, content: str) -> None:
    """The group binds what it handles after its StartedEvent."""
    async with asyncio.timeout(START_S):
        while not await rig.is_wanted("MESSAGE_CREATE", consume_rig.message(content)):  # noqa: ASYNC110 - processes
            await asyncio.sleep(0.05)


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}").exists()}


async def test_run_subprocesses_is_a_whole_fleet_that_mends_itself_and_drains(empty: Rig) -> None:
    script = run_script(empty, "run_subprocesses", subprocess_count=2, worker_count=1, shard_count=2)
    started = await until_started(empty, 2)
    assert all(entry["shards"] == 2 for entry in started)
    await eventually(lambda: len(descendants(script.pid)) >= 5)  # gw-run, coordinator, worker, 2 consumers
    before = descendants(script.pid)
    killed, other = (entry["pid"] for entry in started)
    os.kill(killed, signal.SIGKILL)
    await until_started(empty, 3)
    assert alive({other})
    await say_when_bound(empty, "hello")
    await empty.until_recorded("message", content="hello")
    everybody = before | descendants(script.pid)
    script.signal(signal.SIGINT)
    assert await script.wait() == 0
    assert len(empty.recorded("StoppedEvent")) == 2
    await eventually(lambda: not alive(everybody))


async def test_nothing_outlives_a_script_that_is_killed(empty: Rig) -> None:
    script = run_script(empty, "run_subprocesses", subprocess_count=1, shard_count=1)
    await until_started(empty)
    everybody = descendants(script.pid)
    script.signal(signal.SIGKILL)
    await script.wait()
    await eventually(lambda: not alive(everybody))
    assert empty.recorded("StoppedEvent"), "it was drained"


async def test_a_script_without_the_guard_ends_with_a_sentence(empty: Rig) -> None:
    script = run_script(empty, "run_subprocesses", unguarded=True, subprocess_count=1, shard_count=1)
    assert await script.wait() == 2
    assert any("gw-run ended with exit code 2" in sentence for sentence in script.sentences)
    assert "put it below if __name__ == '__main__'" in (empty.directory / "script.log").read_text()
    assert not empty.recorded("StartingEvent")


async def test_wrong_options_are_sentences(empty: Rig) -> None:
    script = run_script(empty, "run_subprocesses", colour="red", prefetch=0)
    assert await script.wait() == 2
    assert all(sentence.startswith("run_subprocesses: ") for sentence in script.sentences)
    assert len(script.sentences) == 2


async def test_run_server_is_what_consumers_elsewhere_need(empty: Rig) -> None:
    server = run_script(empty, "run_server", shard_count=2, intents=513)
    consumer = empty.start(GW_CONNECT_TIMEOUT="120")
    await until_started(empty)
    await say_when_bound(empty, "hello")
    await empty.until_recorded("message", content="hello")
    await eventually(lambda: len(descendants(server.pid)) >= 3)  # gw-run, coordinator, worker
    assert await consumer.stop() == 0
    everybody = descendants(server.pid)
    assert await server.stop() == 0
    await eventually(lambda: not alive(everybody))


async def test_a_fleet_that_comes_back_with_more_shards_is_noticed_by_a_consumer_that_runs(empty: Rig) -> None:
    for count in (2, 4):
        with consume_rig.command_running("gw-coordinator", ("--shard-count", str(count)), empty.fleet.environment):
            if not empty.processes:
                await empty.started()
            last = count - 1

            async def sees_them(shard: int = last, count: int = count) -> bool:
                headers = consume_rig.plain_headers(shard, shard_count=count)
                await empty.say(
                    "look", message_id=f"{empty.session}-{count}:{secrets.randbelow(10**9)}", headers=headers
                )
                return any(str(shard) in entry["shards"] for entry in empty.recorded("shards"))

            await eventually(sees_them)
    assert empty.recorded("shards")[-1]["shards"]["3"][3] == 4


@pytest.fixture
def recording(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """What consumers that this process starts write to."""
    monkeypatch.setenv("RECORD_FILE", str(rig.record_file))
    return rig


async def spawn(rig: Rig, **changes: object) -> consumers.Subprocesses:
    options: consumers.subprocesses.SubprocessOptions = {
        "callback": consume_bots.setup,
        "amqp_url": rig.fleet.broker_url,
        "namespace": rig.names.namespace,
        "group": rig.group,
        "rest_url": rig.fleet.rest_url,
        "subprocess_count": 2,
        "with_server": False,
    }
    options.update(changes)  # type: ignore[typeddict-item]
    return await consumers.spawn_subprocesses(BOT_TOKEN, **options)


async def test_consumers_alone_are_spawned_mended_and_stopped(recording: Rig) -> None:
    async with await spawn(recording) as processes:
        await until_started(recording, 2)
        assert {entry["pid"] for entry in recording.recorded("StartedEvent")} == set(processes.pids)
        killed, other = processes.pids
        os.kill(killed, signal.SIGKILL)
        await until_started(recording, 3)
        assert other in processes.pids
        assert killed not in processes.pids
        everybody = set(processes.pids)
    assert processes.pids == ()
    assert not alive(everybody)
    assert len(recording.recorded("StoppedEvent")) == 2


async def test_consumers_that_close_themselves_end_the_wait(recording: Rig) -> None:
    processes = await spawn(recording, subprocess_count=1)
    await until_started(recording)
    await say_when_bound(recording, "close")
    await processes.wait()


async def test_consumers_that_cannot_start_end_the_wait_with_the_reason(recording: Rig) -> None:
    refused = await spawn(recording, callback=f"{consume_bots.__name__}:nothing")
    with pytest.raises(FleetEndedError, match="exit code 2"):
        await refused.wait()
    away = await spawn(recording, amqp_url="amqp://guest:guest@127.0.0.1:9/", connect_timeout_s=0.1)
    with pytest.raises(ConsumersKeepEndingError):
        await away.wait()


async def test_what_the_running_fleet_has_already_is_refused(recording: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="shard-count: the fleet that runs already has it"):
        await spawn(recording, shard_count=2)
    monkeypatch.delenv("AMQP_URL", raising=False)
    with pytest.raises(ConfigurationError, match="amqp_url"):
        await spawn(recording, amqp_url=None)
