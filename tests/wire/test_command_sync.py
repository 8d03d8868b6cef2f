"""Command sync once for each group: real processes, a real broker, and a Discord in this process that counts."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from gateway_sim.rest.api import RestApi
from gateway_sim.rest.journal import RestJournal
from gateway_sim.world import World
from tests.waiting import eventually
from tests.wire import consume_rig
from tests.wire.consume_rig import BOT_TOKEN, ConsumeProcess, Rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aio_pika.abc import AbstractChannel


BOTS = Path(__file__).parent


class Discord:
    """Discord's REST; overwrites can be failed or held."""

    def __init__(self) -> None:
        self.world = World(bot_token=BOT_TOKEN, guild_count=2, large_guilds=0)
        self.journal = RestJournal()
        self.url = ""
        self.failures: list[int] = []
        self.arrived_count = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def app(self) -> web.Application:
        api = RestApi(
            self.world,
            gateway_url=lambda: "ws://127.0.0.1:9",
            session_start_limit=dict,
            recommended_shards=lambda: 1,
            journal=self.journal,
            on_dispatch=lambda _: None,
        )
        app = api.app()
        app.middlewares.append(self._stand_between)
        return app

    @web.middleware
    async def _stand_between(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.method == "PUT":
            self.arrived_count += 1
            await self.may_answer.wait()
            if self.failures:
                return web.json_response({"message": "no", "code": 0}, status=self.failures.pop(0))
        return await handler(request)

    @property
    def overwrites(self) -> list[list[str]]:
        """The names of each overwrite that was accepted."""
        accepted = [one for one in self.journal.requests if one.method == "PUT" and one.status == 200]
        return [sorted(command["name"] for command in one.body) for one in accepted]

    @property
    def names(self) -> list[str]:
        return sorted(command["name"] for command in self.world.commands.get(0, {}).values())


@pytest.fixture
async def rig(fleet: consume_rig.Fleet, observer: AbstractChannel, tmp_path: Path) -> AsyncIterator[Rig]:
    async with consume_rig.rig(fleet, observer, tmp_path) as tested:
        yield tested
        await observer.queue_delete(tested.names.commands(tested.group))


@pytest.fixture
async def discord() -> AsyncIterator[Discord]:
    stand_in = Discord()
    runner = web.AppRunner(stand_in.app(), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v10"
    yield stand_in
    stand_in.may_answer.set()
    await runner.cleanup()


def start(rig: Rig, discord: Discord, names: str) -> ConsumeProcess:
    environment: dict[str, Any] = {
        "GW_ENTRYPOINT": "command_bots:setup",
        "GW_ENTRYPOINT_DIR": str(BOTS),
        "GW_REST_URL": discord.url,
        "COMMAND_NAMES": names,
    }
    return rig.start(**environment)


async def test_of_three_processes_that_start_together_one_sends_and_all_get_the_answer(
    rig: Rig, discord: Discord
) -> None:
    processes = [start(rig, discord, "a b") for _ in range(3)]
    for process in processes:
        await process.until_logged("synced")
    assert discord.overwrites == [["a", "b"]]
    assert [process.logged("synced")[0]["names"] for process in processes] == [["a", "b"]] * 3


async def test_what_somebody_else_changed_is_sent_again_at_the_next_start(rig: Rig, discord: Discord) -> None:
    first = start(rig, discord, "a b")
    await first.until_logged("synced")
    discord.world.commands[0].popitem()
    await start(rig, discord, "a b").until_logged("synced")
    assert discord.overwrites == [["a", "b"]] * 2
    assert discord.names == ["a", "b"]


async def test_a_deploy_sends_once_and_an_old_process_that_restarts_waits(rig: Rig, discord: Discord) -> None:
    await start(rig, discord, "old").until_logged("synced")
    new = [start(rig, discord, "new") for _ in range(2)]
    for process in new:
        await process.until_logged("synced")
    assert discord.overwrites == [["old"], ["new"]]

    restarted = start(rig, discord, "old")
    await restarted.until_logged("commands_superseded")
    assert discord.names == ["new"]

    for process in new:
        assert await process.stop() == 0
    await eventually(lambda: discord.names == ["old"])  # the new release was taken back
    assert discord.overwrites == [["old"], ["new"], ["old"]]


async def test_when_the_sender_dies_in_the_middle_another_one_sends(rig: Rig, discord: Discord) -> None:
    discord.may_answer.clear()
    processes = [start(rig, discord, "a b") for _ in range(2)]
    await eventually(lambda: discord.arrived_count == 1)
    (sender,) = [one for one in processes if one.logged("commands_sending")]
    sender.signal(signal.SIGKILL)
    await sender.wait()
    discord.may_answer.set()
    (other,) = [one for one in processes if one is not sender]
    await other.until_logged("synced")
    assert discord.names == ["a", "b"]


async def test_a_refusal_reaches_the_library_and_the_next_process_tries(rig: Rig, discord: Discord) -> None:
    discord.failures = [400]
    processes = [start(rig, discord, "a b") for _ in range(2)]
    await eventually(lambda: all(one.logged("synced") or one.logged("sync_refused") for one in processes))
    assert sorted(len(one.logged("sync_refused")) for one in processes) == [0, 1]
    assert discord.overwrites == [["a", "b"]]


async def test_an_overload_of_discord_is_waited_out_by_the_sender_alone(rig: Rig, discord: Discord) -> None:
    discord.failures = [502, 503]
    processes = [start(rig, discord, "a b") for _ in range(2)]
    for process in processes:
        await process.until_logged("synced")
    assert discord.overwrites == [["a", "b"]]
    assert discord.arrived_count == 3


async def test_a_group_of_its_own_decides_for_itself(rig: Rig, discord: Discord) -> None:
    await start(rig, discord, "a").until_logged("synced")
    rig.group = f"{rig.group}x"
    await start(rig, discord, "b").until_logged("synced")
    assert discord.overwrites == [["a"], ["b"]]
