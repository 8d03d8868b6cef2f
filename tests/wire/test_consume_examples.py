"""The example bots in gw-consume: command libraries sync, get their interactions, and their answers reach REST."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from gateway_sim.interactions import make_interaction
from gateway_sim.rest.api import RestApi
from gateway_sim.rest.journal import RestJournal
from gateway_sim.world import World
from tests.waiting import eventually
from tests.wire.consume_rig import BOT_TOKEN, Rig, message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway_sim.rest.journal import RestRequest
    from tests.wire.consume_rig import ConsumeProcess

EXAMPLES = Path(__file__).parents[2] / "examples"
INTERACTION_MESSAGE, MODAL = 4, 9
OF_A_SLOW_MACHINE = ("loop_blocked", "loop_runs_again")


class Discord:
    """Discord's REST API in this process, so that the test knows what it was asked."""

    def __init__(self) -> None:
        self.world = World(bot_token=BOT_TOKEN, guild_count=2, large_guilds=0, answer_within_s=60)
        self.journal = RestJournal()
        self.url = ""

    def app(self) -> web.Application:
        api = RestApi(
            self.world,
            gateway_url=lambda: "ws://127.0.0.1:9",
            session_start_limit=dict,
            recommended_shards=lambda: 1,
            journal=self.journal,
            on_dispatch=lambda _: None,
        )
        return api.app()

    def asked(self, method: str, ending: str) -> list[RestRequest]:
        return [
            one for one in self.journal.requests if one.method == method and one.path.partition("?")[0].endswith(ending)
        ]

    async def answer_to(self, rig: Rig, kind: str, **options: Any) -> Any:
        """Send an interaction, and wait for the body of the answer that Discord accepted."""
        dispatch = make_interaction(self.world, kind, **options)
        d = orjson.loads(dispatch.data)
        await rig.publish("INTERACTION_CREATE", d)
        ending = f"/interactions/{d['id']}/{d['token']}/callback"
        await eventually(lambda: self.asked("POST", ending))
        request = self.asked("POST", ending)[0]
        assert request.status in (200, 204), request
        return request.body


@pytest.fixture
async def discord() -> AsyncIterator[Discord]:
    stand_in = Discord()
    runner = web.AppRunner(stand_in.app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v10"
    yield stand_in
    await runner.cleanup()


def environment(name: str, discord: Discord) -> dict[str, str]:
    return {"GW_ENTRYPOINT": f"{name}:setup", "GW_ENTRYPOINT_DIR": str(EXAMPLES), "GW_REST_URL": discord.url}


def complaints(process: ConsumeProcess, *levels: str) -> list[dict[str, Any]]:
    """But for what a machine that does much else causes."""
    return [one for one in process.log if one["level"] in levels and one.get("action") not in OF_A_SLOW_MACHINE]


@pytest.mark.parametrize("name", ["arc_bot", "crescent_bot"])
async def test_a_bot_with_a_command_library_answers_command_button_and_modal(
    rig: Rig, discord: Discord, name: str
) -> None:
    process = await rig.started(**environment(name, discord))
    await eventually(lambda: discord.world.commands.get(0))
    assert [command["name"] for command in discord.world.commands[0].values()] == ["greet"]

    answer = await discord.answer_to(rig, "slash", name="greet", options={"name": "Ada"})
    assert answer["type"] == INTERACTION_MESSAGE
    assert answer["data"]["content"] == "Hello Ada!"
    button = answer["data"]["components"][0]["components"][0]

    answer = await discord.answer_to(rig, "button", custom_id=button["custom_id"])
    assert answer["type"] == MODAL
    field = answer["data"]["components"][0]["components"][0]
    assert field["value"] == "Ada"

    fields = {field["custom_id"]: "Grace"}
    answer = await discord.answer_to(rig, "modal_submit", custom_id=answer["data"]["custom_id"], fields=fields)
    assert (answer["type"], answer["data"]["content"]) == (INTERACTION_MESSAGE, "Hello Grace!")

    assert await process.stop() == 0
    assert await rig.has_settled_all()
    assert discord.journal.unknown_routes == {}
    assert not complaints(process, "ERROR", "WARNING")


async def test_two_processes_with_a_command_library_both_answer(rig: Rig, discord: Discord) -> None:
    parent = rig.start("--processes", "2", **environment("arc_bot", discord))
    await parent.until_logged("child_up", count=2)
    for number in range(6):
        answer = await discord.answer_to(rig, "slash", name="greet", options={"name": str(number)})
        assert answer["data"]["content"] == f"Hello {number}!"
    assert await parent.stop() == 0
    assert not complaints(parent, "ERROR")


async def test_a_cooldown_in_redis_counts_over_all_processes(rig: Rig, discord: Discord, redis_url: str) -> None:
    parent = rig.start("--processes", "3", **environment("shared_cooldown", discord), REDIS_URL=redis_url)
    await parent.until_logged("child_up", count=3)
    members = discord.world.guild(discord.world.guild_ids[0])["members"]
    for user_id in [member["user"]["id"] for member in members[:2]]:
        answers = [await discord.answer_to(rig, "slash", name="reward", user_id=user_id) for _ in range(6)]
        said = [answer["data"]["content"] for answer in answers]
        assert said[0] == "Here you are!"
        assert all(text.startswith("Again in 3") for text in said[1:]), said
    assert await parent.stop() == 0
    assert not complaints(parent, "ERROR")


async def test_the_smallest_bot_is_small_and_answers(rig: Rig, discord: Discord) -> None:
    source = (EXAMPLES / "smallest_bot.py").read_text()
    assert len(source.splitlines()) <= 20
    assert ast.parse(source)
    process = await rig.started(**environment("smallest_bot", discord))
    channel = next(iter(discord.world.guild(discord.world.guild_ids[0])["channels"]))["id"]
    await rig.publish("MESSAGE_CREATE", {**message("ping"), "channel_id": channel})
    await eventually(lambda: discord.asked("POST", f"/channels/{channel}/messages"))
    assert discord.asked("POST", f"/channels/{channel}/messages")[0].body["content"] == "Pong!"
    assert await process.stop() == 0


async def test_the_bot_with_listeners_of_several_kinds_hears_them(rig: Rig, discord: Discord) -> None:
    process = await rig.started(**environment("listeners_bot", discord))
    await rig.say("hello")
    await eventually(lambda: any("after Discord" in entry["message"] for entry in process.log))
    role = {"guild_id": "4", "role_id": "5"}
    await rig.publish("GUILD_ROLE_DELETE", role)
    await eventually(lambda: any("RoleDeleteEvent in guild 4" in entry["message"] for entry in process.log))
    await rig.say("!busy")
    await eventually(lambda: any("not busy: no worker holds shard 0" in entry["message"] for entry in process.log))
    assert await process.stop() == 0
    assert any(entry["message"] == "goodbye" for entry in process.log)
