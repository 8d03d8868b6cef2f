"""The life of gw-consume's processes: drained, forced, restarted, closed from within, never left behind."""

from __future__ import annotations

import asyncio
import os
import signal

from tests.waiting import eventually
from tests.wire.consume_rig import BOT_TOKEN, ConsumeProcess, Rig, is_running


def children(parent: ConsumeProcess) -> list[int]:
    return [entry["pid"] for entry in parent.logged("child_up")]


async def test_a_signal_takes_nothing_more_and_lets_running_handlers_end(rig: Rig) -> None:
    process = await rig.started()
    await rig.say("hold")
    await rig.until_recorded("message")
    process.signal(signal.SIGTERM)
    await process.until_logged("taking_no_more")
    await rig.say("too late")
    assert process.process.poll() is None
    rig.let_go()
    assert await process.wait() == 0
    assert len(rig.recorded("end")) == 1
    assert rig.recorded("StoppedEvent")
    assert await rig.ready_count(rig.queue) == 1


async def test_handlers_that_do_not_end_in_time_are_cancelled_and_their_dispatch_comes_again(rig: Rig) -> None:
    process = await rig.started("--drain-timeout", "0.5")
    await rig.say("hold")
    await rig.until_recorded("message")
    assert await process.stop() == 0
    assert process.logged("drain_timeout")[0]["count"] == 1

    async def comes_again() -> bool:
        return await rig.ready_count(rig.queue) == 1

    await eventually(comes_again)


async def test_a_second_signal_forces_the_end(rig: Rig) -> None:
    process = await rig.started()
    await rig.say("hold")
    await rig.until_recorded("message")
    process.signal(signal.SIGINT)
    await process.until_logged("drain")
    process.signal(signal.SIGINT)
    assert await process.wait() == 128 + signal.SIGINT
    assert not rig.recorded("end")


async def test_a_service_manager_that_tells_all_processes_forces_none(rig: Rig) -> None:
    """The supervisor passes on what its processes were told already."""
    parent = rig.start("--processes", "2")
    await parent.until_logged("child_up", count=2)
    await rig.say("hold")
    await rig.until_recorded("message")
    for pid in children(parent):
        os.kill(pid, signal.SIGTERM)
    await parent.until_logged("taking_no_more", count=2)
    parent.signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    rig.let_go()
    assert await parent.wait() == 0
    assert not parent.logged("forced")
    assert len(rig.recorded("end")) == 1
    assert not any(entry["supervised"] for entry in rig.recorded("StartedEvent"))  # what handlers start is not
    assert await rig.has_settled_all()


async def test_a_signal_ends_a_process_that_still_waits_for_the_coordinator(rig: Rig) -> None:
    process = rig.start(GW_NAMESPACE=f"{rig.names.namespace}-empty", GW_LOG_LEVEL="DEBUG")
    await eventually(lambda: process.log)
    assert await process.stop() == 0
    assert process.sentences == []


async def test_a_handler_may_close_the_bot(rig: Rig) -> None:
    process = await rig.started()
    await rig.say("close")
    assert await process.wait() == 0
    assert rig.recorded("end", content="close")
    assert rig.recorded("StoppedEvent")
    assert await rig.has_settled_all()


async def test_several_processes_share_the_work_and_end_with_one_signal(rig: Rig) -> None:
    parent = rig.start("--processes", "2")
    await parent.until_logged("child_up", count=2)
    for number in range(50):
        await rig.say(f"m{number}")
    entries = await rig.until_recorded("message", count=50)
    assert {entry["pid"] for entry in entries} == set(children(parent))
    assert await parent.stop() == 0
    assert not any(is_running(pid) for pid in children(parent))
    assert len(rig.recorded("StoppedEvent")) == 2
    assert await rig.has_settled_all()


async def test_a_process_that_is_killed_is_replaced_and_the_other_stays(rig: Rig) -> None:
    parent = rig.start("--processes", "2")
    await parent.until_logged("child_up", count=2)
    killed, other = children(parent)
    os.kill(killed, signal.SIGKILL)
    await parent.until_logged("child_up", count=3)
    assert parent.logged("child_ended")[0]["exit_code"] == -signal.SIGKILL
    assert is_running(other)
    await rig.say("hello")
    await rig.until_recorded("message")
    assert await parent.stop() == 0


async def test_a_process_that_closes_itself_stays_closed(rig: Rig) -> None:
    parent = rig.start("--processes", "2")
    await parent.until_logged("child_up", count=2)
    await rig.say("close")
    await parent.until_logged("child_closed")
    await rig.say("close")
    assert await parent.wait() == 0
    assert len(parent.logged("child_up")) == 2


async def test_wrong_settings_are_said_once_and_end_all(rig: Rig) -> None:
    parent = rig.start("--processes", "3", GW_ENTRYPOINT="consume_bots:nothing")
    assert await parent.wait() == 2
    assert len(parent.sentences) == 1
    assert "has no 'nothing'" in parent.sentences[0]


async def test_a_start_that_keeps_failing_ends_with_a_sentence(rig: Rig) -> None:
    parent = rig.start(
        "--processes", "2", AMQP_URL="amqp://guest:guest@127.0.0.1:9/", GW_CONNECT_TIMEOUT="0.1", GW_LOG_LEVEL="ERROR"
    )
    assert await parent.wait() == 1
    assert "ended again and again" in parent.sentences[-1]
    assert sum("no RabbitMQ answers" in sentence for sentence in parent.sentences) == 3


async def test_no_process_outlives_its_supervisor(rig: Rig) -> None:
    parent = rig.start("--processes", "2")
    await parent.until_logged("child_up", count=2)
    pids = children(parent)
    parent.signal(signal.SIGKILL)
    await parent.wait()
    await eventually(lambda: not any(is_running(pid) for pid in pids))
    assert len(rig.recorded("StoppedEvent")) == 2


async def test_secrets_are_on_no_command_line(rig: Rig) -> None:
    parent = rig.start("--processes", "2")
    await parent.until_logged("child_up", count=2)
    for pid in (parent.pid, *children(parent)):
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: ASYNC230 - procfs
            command_line = file.read().decode()
        assert BOT_TOKEN not in command_line
        assert rig.fleet.broker_url not in command_line
