"""`gw-consume --reload`: what runs is drained and replaced when its files change, and waits while they are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.simulator_client import SimulatorClient
from tests.waiting import eventually
from tests.wire import consume_rig
from tests.wire.consume_rig import BOTS, Rig

if TYPE_CHECKING:
    from pathlib import Path


BOT = """
import hikari
from consume_bots import hold, record

def setup(bot):
    @bot.listen()
    async def on_message(event: hikari.MessageCreateEvent) -> None:
        record("message", content=event.content, version={version})
        if event.content == "hold":
            await hold()
        record("end", content=event.content, version={version})
"""


async def test_a_change_drains_and_replaces_and_a_mistake_waits_to_be_corrected(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "bot"
    folder.mkdir()
    bot = folder / "my_bot.py"
    bot.write_text(BOT.format(version=1))
    process = await rig.started(
        "--reload", GW_ENTRYPOINT="my_bot:setup", GW_ENTRYPOINT_DIR=str(folder), PYTHONPATH=str(BOTS)
    )
    await process.until_logged("child_up")
    await rig.say("hold")
    await rig.until_recorded("message", version=1)

    bot.write_text(BOT.format(version=20))
    await process.until_logged("taking_no_more")
    bot.write_text(BOT.format(version=300))  # while the old one drains
    await process.until_logged("reload", count=2)
    rig.let_go()
    await process.until_logged("child_up", count=2)
    await rig.say("again")
    await rig.until_recorded("end", version=300)
    assert rig.recorded("end", content="hold", version=1)
    assert not process.logged("forced")

    bot.write_text("def setup(:")
    await process.until_logged("reload_refused")
    await rig.say("meanwhile")
    await rig.until_recorded("end", content="meanwhile", version=300)

    bot.write_text("raise ValueError('no setup today')")
    await process.until_logged("waiting_for_reload")
    await rig.say("later")
    bot.write_text(BOT.format(version=4000))
    await process.until_logged("reload", count=4)
    await process.until_logged("child_up", count=3)
    await rig.until_recorded("end", content="later", version=4000)

    assert await process.stop() == 0
    assert any("raised ValueError: no setup today" in sentence for sentence in process.sentences)
    await eventually(rig.has_settled_all)


async def test_a_reload_disturbs_no_shard(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "bot"
    folder.mkdir()
    bot = folder / "my_bot.py"
    bot.write_text(BOT.format(version=1))
    with consume_rig.command_running("gw-worker", (), rig.fleet.environment):
        process = await rig.started(
            "--reload", GW_ENTRYPOINT="my_bot:setup", GW_ENTRYPOINT_DIR=str(folder), PYTHONPATH=str(BOTS)
        )
        await process.until_logged("child_up")

        async with SimulatorClient(rig.fleet.control_url) as simulator:

            async def are_identified() -> bool:
                return bool((await simulator.verdict())["identifies"] == consume_rig.SHARD_COUNT)

            await eventually(are_identified)
            bot.write_text(BOT.format(version=20))
            await process.until_logged("child_up", count=2)
            await rig.say("after")
            await rig.until_recorded("end", content="after", version=20)
            verdict = await simulator.verdict()
            assert (verdict["identifies"], verdict["resumes"]) == (consume_rig.SHARD_COUNT, 0)
    assert await process.stop() == 0
