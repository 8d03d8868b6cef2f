"""`gw-sim send` from a shell: it finds the simulator, says what is wrong, and shows what the bot answers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from typer.testing import CliRunner, Result

from gateway_sim import bot_answers
from gateway_sim.control_client import CONTROL_FILE
from gateway_sim.send_cli import send_app
from tests.sim.conftest import Sim, StartSim
from tests.sim.gateway_client import TOKEN, GatewayClient

TIMEOUT_S = 60.0
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("GW_SIM")}
ENVIRONMENT |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
GREET = {
    "name": "greet",
    "description": "Greet",
    "options": [{"type": 3, "name": "name", "description": "Whom", "required": True}],
}
TOOLS = {
    "name": "tools",
    "description": "Tools",
    "options": [{"type": 1, "name": "echo", "description": "Say it again"}],
}
INSPECT = {"name": "Inspect", "type": 2}


def send(*arguments: str) -> Result:
    """What `gw-sim send` does in this process: a start of its own takes a second."""
    return CliRunner().invoke(send_app, arguments)


async def lines_of(sending: asyncio.Task[Result]) -> list[dict[str, Any]]:
    done = await asyncio.wait_for(sending, TIMEOUT_S)
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def sent(*arguments: str) -> asyncio.Task[Result]:
    return asyncio.create_task(asyncio.to_thread(send, *arguments))


async def rest(sim: Sim, method: str, path: str, body: object) -> Any:
    headers = {"Authorization": f"Bot {TOKEN}"}
    async with aiohttp.ClientSession() as http, http.request(
        method, sim.rest_url + path, json=body, headers=headers
    ) as response:  # fmt: skip
        assert response.status < 300, await response.text()
        return await response.json() if response.status != 204 else None


@pytest.fixture(scope="module")
def sim_with_commands(start_module_sim: StartSim) -> Sim:
    """Of a bot that has registered its commands and is not there."""
    sim = start_module_sim("--guilds", "2", "--large-guilds", "0")

    async def register() -> None:
        application = await rest(sim, "GET", "/applications/@me", None)
        await rest(sim, "PUT", f"/applications/{application['id']}/commands", [GREET, TOOLS, INSPECT])

    asyncio.run(register())
    return sim


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["message", "x", "--guild", "5"], ["no guild 5", "give the id of one of its guilds (6710"]),
        (["message", "x", "--channel", "5"], ["no channel 5", "give the id of one of its channels (7130"]),
        (["interaction", "wink"], ["no interaction kind 'wink'", "slash"]),
        (["interaction", "slash", "--options", "{name: x}"], ["must be a JSON object"]),
        (["interaction", "user", "--options", '{"name": "Inspect", "colour": 1}'], ["no option colour", "target_id"]),
        (["interaction", "slash", "--options", '{"name": "gret"}'], ["no slash command 'gret'", "greet, tools"]),
        (["interaction", "user", "--options", '{"name": "greet"}'], ["no user command 'greet'", "Inspect"]),
        (["interaction", "message", "--options", '{"name": "x"}'], ["no message command 'x'", "there is none"]),
        (["interaction", "slash", "--options", '{"name": "greet"}'], ["'greet' needs options name"]),
        (
            ["interaction", "slash", "--options", '{"name": "greet", "options": {"nmae": "x"}}'],
            ["'greet' has no option nmae", "there is name"],
        ),
        (["interaction", "slash", "--options", '{"name": "tools"}'], ["'tools' is a group", "echo"]),
        (
            ["interaction", "slash", "--options", '{"name": "tools", "subcommands": ["eco"]}'],
            ["'tools' has no subcommand 'eco'", "echo"],
        ),
        (["interaction", "button", "--options", '{"message_id": "5"}'], ["sent no message 5"]),
    ],
)
def test_what_discord_would_not_send_is_refused_with_what_there_is(
    sim_with_commands: Sim, arguments: list[str], words: list[str]
) -> None:
    done = send(*arguments, "--control", sim_with_commands.control_url)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert [word for word in words if word not in done.stderr] == [], done.stderr


def test_without_a_simulator_it_says_how_to_get_or_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nowhere = send("message", "x")
    silent = send("message", "x", "--control", "http://127.0.0.1:9")
    foreign = send("message", "x", "--control", "ftp://127.0.0.1")
    assert (nowhere.exit_code, silent.exit_code, foreign.exit_code) == (2, 1, 2)
    assert "gw-run --sim" in nowhere.stderr
    assert "GW_SIM_CONTROL" in nowhere.stderr
    assert "no simulator answers at http://127.0.0.1:9: [Errno 111] Connection refused" in silent.stderr
    assert "http:// URL" in foreign.stderr
    assert all(done.stderr.count("\n") == 1 for done in (nowhere, silent, foreign))


def test_the_simulator_of_this_folder_is_found_as_long_as_it_runs(start_sim: StartSim, tmp_path: Path) -> None:
    sim = start_sim("--guilds", "1", "--large-guilds", "0", "--control-file", str(tmp_path / CONTROL_FILE))
    done = subprocess.run(
        [sys.executable, "-m", "gateway_sim.cli", "send", "message", "x"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert json.loads(done.stdout)["delivered"] == 0
    assert "no shard of that guild is connected" in done.stderr
    sim.stop()
    assert not (tmp_path / CONTROL_FILE).exists()


async def test_the_answer_to_an_interaction_is_shown(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sending = sent("interaction", "button", "--control", sim.control_url, "--wait", "30")
        interaction = (await client.until(t="INTERACTION_CREATE"))["d"]
        callback = f"/interactions/{interaction['id']}/{interaction['token']}/callback"
        await rest(sim, "POST", callback, {"type": 5})
        webhook = f"/webhooks/{interaction['application_id']}/{interaction['token']}"
        await rest(sim, "PATCH", f"{webhook}/messages/@original", {"content": "pong"})
        first, answer, edit = await lines_of(sending)
    assert (first["id"], first["delivered"]) == (interaction["id"], 1)
    assert answer["answer"]["type"] == 5
    assert edit["edit"]["content"] == "pong"


async def test_what_the_bot_says_to_a_message_is_shown(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sending = sent("message", "ping", "--control", sim.control_url, "--wait", "30")
        message = (await client.until(t="MESSAGE_CREATE"))["d"]
        await rest(sim, "POST", f"/channels/{message['channel_id']}/messages", {"content": "Pong!"})
        first, answer = await lines_of(sending)
    assert (message["content"], first["id"], first["channel_id"]) == ("ping", message["id"], message["channel_id"])
    assert answer["answer"]["content"] == "Pong!"


async def test_a_bot_that_says_nothing_is_an_error_unless_nobody_waits(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        waited = await sent("message", "ping", "--control", sim.control_url, "--wait", "0.1")
        assert (waited.exit_code, waited.stderr) == (1, "gw-sim: no answer of the bot within 0.1 s\n")
        (only,) = await lines_of(sent("message", "ping", "--control", sim.control_url, "--wait", "0"))
        assert only["delivered"] == 1


def test_a_refused_answer_is_shown_with_its_status_and_completes_nothing() -> None:
    asked = {"id": "1", "token": "t"}
    path = "/api/v10/interactions/1/t/callback?with_response=true"
    refused = {"method": "POST", "path": path, "body": {"type": 99}, "status": 400}
    found = list(bot_answers.to_interaction([refused], asked))
    assert found == [{"answer": {"type": 99}, "status": 400}]
    assert not bot_answers.is_complete(found)
    assert bot_answers.is_complete([*found, {"answer": {"type": 4}}])
