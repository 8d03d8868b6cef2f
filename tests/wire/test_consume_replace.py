"""SIGUSR1 to `gw-consume --processes N`: its processes are replaced one by one, by ones with the code of then."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consumers import preloaded
from tests.waiting import eventually
from tests.wire.consume_rig import BOTS, Rig, is_running

if TYPE_CHECKING:
    from tests.wire.consume_rig import ConsumeProcess


BOT = """
import asyncio
import hikari
from consume_bots import record

def setup(bot):
    @bot.listen()
    async def on_message(event: hikari.MessageCreateEvent) -> None:
        await asyncio.sleep(0.01)
        record("end", content=event.content, version={version})
"""


@pytest.fixture
def bot(tmp_path: Path) -> Path:
    folder = tmp_path / "bot"
    folder.mkdir()
    file = folder / "my_bot.py"
    file.write_text(BOT.format(version=1))
    return file


async def started(rig: Rig, bot: Path) -> tuple[ConsumeProcess, list[int]]:
    """The supervisor, and its two processes."""
    settings = {"GW_ENTRYPOINT": "my_bot:setup", "GW_ENTRYPOINT_DIR": str(bot.parent), "PYTHONPATH": str(BOTS)}
    parent = rig.start("--processes", "2", **settings)
    await parent.until_logged("child_up", count=2)
    return parent, [entry["pid"] for entry in parent.logged("child_up")]


async def test_all_are_replaced_while_dispatches_come_and_each_is_handled_once(rig: Rig, bot: Path) -> None:
    parent, old = await started(rig, bot)
    write(bot, BOT.format(version=20))
    parent.signal(signal.SIGUSR1)
    number = 0
    while not parent.logged("replaced"):
        await rig.say(f"m{number}")
        number += 1
        await asyncio.sleep(0.01)
    await parent.until_logged("child_up", count=4)
    new = [entry["pid"] for entry in parent.logged("child_up")][2:]
    assert len(set(new) - set(old)) == 2
    await rig.say("last")
    await rig.until_recorded("end", content="last", version=20)
    handled = [entry["content"] for entry in await rig.until_recorded("end", count=number + 1)]
    assert sorted(handled) == sorted([*(f"m{one}" for one in range(number)), "last"])
    assert not any(is_running(pid) for pid in old)
    assert await parent.stop() == 0
    assert not any(is_running(pid) for pid in new)
    assert await rig.has_settled_all()


def catches(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(mask, 16) >> (number - 1) & 1)


async def test_a_signal_that_comes_while_a_process_is_forked_leaves_no_place_empty(rig: Rig, bot: Path) -> None:
    settings = {"GW_ENTRYPOINT": "my_bot:setup", "GW_ENTRYPOINT_DIR": str(bot.parent), "PYTHONPATH": str(BOTS)}
    parent = rig.start("--processes", "2", **settings)
    await eventually(lambda: catches(parent.pid, signal.SIGUSR1))
    parent.signal(signal.SIGUSR1)
    await parent.until_logged("child_up", count=2)
    await rig.say("hello")
    await rig.until_recorded("end", content="hello")
    assert await parent.stop() == 0


async def test_code_that_does_not_start_replaces_nothing(rig: Rig, bot: Path) -> None:
    parent, old = await started(rig, bot)
    write(bot, "def setup(:")
    parent.signal(signal.SIGUSR1)
    await parent.until_logged("replace_failed")
    assert all(is_running(pid) for pid in old)
    await rig.say("still here")
    await rig.until_recorded("end", content="still here", version=1)
    write(bot, BOT.format(version=300))
    parent.signal(signal.SIGUSR1)
    await parent.until_logged("replaced")
    await rig.say("mended")
    await rig.until_recorded("end", content="mended", version=300)
    assert await parent.stop() == 0


async def test_whoever_forks_may_be_killed(rig: Rig, bot: Path) -> None:
    """What it forked drains, and others take its place."""
    parent, old = await started(rig, bot)
    forking = parent_of(old[0])
    assert forking not in (parent.pid, os.getpid())
    os.kill(forking, signal.SIGKILL)
    await parent.until_logged("child_up", count=4)
    await eventually(lambda: not any(is_running(pid) for pid in old))
    await rig.say("hello")
    await rig.until_recorded("end", content="hello")
    assert await parent.stop() == 0


async def test_whoever_forks_may_be_frozen(rig: Rig, bot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request fails in time, what it forked ends, and the next request has another process."""
    settings = {"GW_ENTRYPOINT": "my_bot:setup", "GW_ENTRYPOINT_DIR": str(bot.parent), "PYTHONPATH": str(BOTS)}
    forking = preloaded.Preloaded(rig.fleet.environment | settings | {"GW_GROUP": rig.group})
    with Path(os.devnull).open("wb") as ready:  # noqa: ASYNC230 - nothing to wait for
        first = await forking.fork(ready.fileno())
        frozen = parent_of(first.pid)
        os.kill(frozen, signal.SIGSTOP)
        with monkeypatch.context() as hasty:
            hasty.setattr(preloaded, "ANSWER_TIMEOUT_S", 0.5)
            hasty.setattr(preloaded, "CLOSE_TIMEOUT_S", 0.5)
            with pytest.raises(TimeoutError):
                await forking.fork(ready.fileno())
        assert not is_running(frozen)
        assert await first.wait() == -signal.SIGHUP
        second = await forking.fork(ready.fileno())
        assert parent_of(second.pid) != frozen
        second.send_signal(signal.SIGKILL)
        assert await second.wait() == -signal.SIGKILL
    await asyncio.to_thread(forking.close)


async def test_a_single_process_says_that_it_has_no_supervisor(rig: Rig) -> None:
    process = await rig.started()
    process.signal(signal.SIGUSR1)
    await eventually(lambda: any("--processes 2 or more" in str(entry) for entry in process.log))
    await rig.say("hello")
    await rig.until_recorded("end", content="hello")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def write(bot: Path, code: str) -> None:
    bot.write_text(code)
