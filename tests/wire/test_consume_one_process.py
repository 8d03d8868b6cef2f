"""`Bot.run_in_one_process`: periodic work in a group of several processes."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import hikari
import pytest

from consumers import Bot
from eventbus.amqp.rpc import is_bound

if TYPE_CHECKING:
    from tests.tcp_proxy import TcpProxy
    from tests.wire.consume_rig import ConsumeProcess, Rig


async def pool(rig: Rig, work: str, count: int = 3, **environment: str) -> list[ConsumeProcess]:
    bot = {"GW_ENTRYPOINT": "one_process_bots:setup", "WORK": work}
    return list(await asyncio.gather(*(rig.started(**bot, **environment) for _ in range(count))))


async def worker_of(rig: Rig, processes: list[ConsumeProcess], *, after: int = 0) -> ConsumeProcess:
    """The one process that ticks, once it has ticked twenty times more."""
    ticks = (await rig.until_recorded("tick", count=after + 20))[after:]
    (pid,) = {entry["pid"] for entry in ticks}
    return next(process for process in processes if process.pid == pid)


async def test_a_loop_runs_in_one_of_three_processes_and_goes_on_in_another_when_that_one_ends(rig: Rig) -> None:
    processes = await pool(rig, "periodic")
    first = await worker_of(rig, processes)
    assert not first.logged("no_listeners")  # it has work
    first.signal(signal.SIGKILL)
    await first.wait()
    second = await worker_of(rig, processes, after=len(rig.recorded("tick")))
    assert second is not first
    assert await second.stop() == 0
    assert [entry["pid"] for entry in rig.recorded("ended")] == [second.pid]
    third = await worker_of(rig, processes, after=len(rig.recorded("tick")))
    assert third not in (first, second)
    assert [entry["pid"] for entry in rig.recorded("begun")] == [first.pid, second.pid, third.pid]
    assert rig.recorded("begun")[-1]["at"] > rig.recorded("ended")[0]["at"]


async def test_a_process_that_loses_the_broker_ends_its_work_and_another_begins_it(rig: Rig, proxy: TcpProxy) -> None:
    cut_off = await pool(rig, "periodic", 1, AMQP_URL=proxy.url(rig.fleet.broker_url))
    first = await worker_of(rig, cut_off)
    others = await pool(rig, "periodic", 1)
    proxy.refuse()
    await rig.until_recorded("ended", pid=first.pid)
    second = await worker_of(rig, others, after=len(rig.recorded("tick")))
    assert second is others[0]
    assert len(first.logged("work_lost")) == 1
    proxy.accept()
    assert await second.stop() == 0
    await rig.until_recorded("begun", count=2, pid=first.pid)


async def test_what_has_ended_is_not_begun_again(rig: Rig) -> None:
    await pool(rig, "once")
    await rig.until_recorded("once")
    await asyncio.sleep(3)  # the others have asked some times
    assert len(rig.recorded("once")) == 1
    assert await is_bound(rig.observer, "", rig.names.work(rig.group, "work"))


@pytest.mark.parametrize(("work", "error"), [("fails_first", "ValueError: as told"), ("cancelled_first", "Cancelled")])
async def test_what_raises_is_said_and_tried_again(rig: Rig, work: str, error: str) -> None:
    (process,) = await pool(rig, work, 1)
    await rig.until_recorded("done")
    assert len(rig.recorded("tried")) == 2
    assert len(process.logged("work_failed")) == 1
    assert any(error in line for line in process.sentences)
    assert await process.stop() == 0


async def test_exit_in_it_ends_the_process_in_order(rig: Rig) -> None:
    process = rig.start(GW_ENTRYPOINT="one_process_bots:setup", WORK="leaves")
    assert await process.wait() == 3
    assert len(process.logged("closed")) == 1


async def nothing() -> None:
    pass


def test_names_are_names_and_each_is_given_once() -> None:
    bot = Bot("amqp://127.0.0.1/", "token")
    bot.run_in_one_process("a", nothing)
    for name in ("a", "two words", ""):
        with pytest.raises(ValueError, match="name"):
            bot.run_in_one_process(name, nothing)


async def test_it_is_too_late_once_the_bot_consumes(rig: Rig) -> None:
    bot = Bot(
        rig.fleet.broker_url,
        "bot.token.of-the-tests",
        namespace=rig.names.namespace,
        group=rig.group,
        rest_url=rig.fleet.rest_url,
    )
    await bot.start()
    try:
        with pytest.raises(hikari.ComponentStateConflictError, match="consumes already"):
            bot.run_in_one_process("late", nothing)
    finally:
        await bot.close()
