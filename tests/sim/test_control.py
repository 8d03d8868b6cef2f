"""The control API, the script and the command line of gw-sim."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from gateway_sim.settings import DEFAULT_TOKEN, application_id_of
from tests.sim.conftest import Sim, StartSim
from tests.sim.gateway_client import TOKEN, GatewayClient

TIMEOUT_S = 30.0


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway_sim.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("POST", "/traffic", b"{", 400, "must be JSON"),
        ("POST", "/traffic", b"[]", 400, "JSON object"),
        ("POST", "/traffic", {"speed": 5}, 400, "unknown traffic option speed"),
        ("POST", "/traffic", {"mix": "soup"}, 400, "soup"),
        ("POST", "/traffic", {"total": -1}, 400, "total must be"),
        ("POST", "/traffic", {"shards": "all"}, 400, "shards must be"),
        ("POST", "/dispatch", {"data": {}}, 400, "needs 'type'"),
        ("POST", "/dispatch", {"type": "A", "data": {}, "guild_id": "x"}, 400, "snowflake"),
        ("POST", "/message", {"content": 5}, 400, "needs 'content'"),
        ("POST", "/message", {"content": "x", "guild_id": "5"}, 400, "no guild 5"),
        ("POST", "/interaction", {}, 400, "needs 'kind'"),
        ("POST", "/interaction", {"kind": "wink"}, 400, "wink"),
        ("POST", "/faults", {"kind": "explode"}, 400, "use one of"),
        ("GET", "/ledger?after=x", None, 400, "whole number"),
        ("GET", "/nowhere", None, 404, "Not Found"),
        ("PUT", "/traffic", {}, 405, "Not Allowed"),
    ],
)
def test_a_bad_request_gets_a_clear_error(
    shared_sim: Sim, method: str, path: str, body: object, status: int, words: str
) -> None:
    got, answer = shared_sim.call(method, path, body)
    assert got == status
    assert words in json.loads(answer)["error"]


async def test_an_interaction_comes_with_an_id_and_a_token(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        answer = sim.post("/interaction", {"kind": "button", "custom_id": "ok"})
        interaction = (await client.until(t="INTERACTION_CREATE"))["d"]
        assert answer == {"id": interaction["id"], "token": interaction["token"], "delivered": 1}
        assert interaction["data"]["custom_id"] == "ok"


async def test_the_ledger_can_be_read_on_from_a_row(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.post("/message", {"content": "x"})
        await client.until(t="MESSAGE_CREATE")
    whole = sim.ledger()
    assert [row["n"] for row in whole] == list(range(1, len(whole) + 1))
    assert sim.ledger("?after=3") == whole[3:]
    assert whole[0]["type"] == "READY"
    assert sim.verdict()["sent"] == len(whole)


async def test_traffic_keeps_its_rate_and_stops(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        sim.wait(lambda: not sim.get("/sessions")[0]["guilds_pending"], "all guilds are sent")
        sim.post("/traffic", {"rate": 200, "mix": "messages"})
        sim.wait(lambda: sim.get("/traffic")["generated"] >= 400, "400 dispatches")
        stopped = sim.delete("/traffic")
        assert sim.get("/traffic")["running"] is False
    rows = [row["at"] for row in sim.ledger() if row["type"] == "MESSAGE_CREATE"]
    assert len(rows) == stopped["generated"]
    assert 100 < len(rows) / (rows[-1] - rows[0]) < 300


async def test_a_clean_run_ends_with_0_and_writes_verdict_and_ledger(start_sim: StartSim, tmp_path: Path) -> None:
    verdict_file, ledger_file = tmp_path / "verdict.json", tmp_path / "ledger.jsonl"
    sim = start_sim("--guilds", "3", "--verdict", str(verdict_file), "--ledger", str(ledger_file))
    async with GatewayClient(sim.gateway_url) as client:
        ready = await client.start()
        for _ in ready["guilds"]:
            await client.until(t="GUILD_CREATE")
        await client.close(1000)
    returncode, verdict, err = sim.stop()
    assert (returncode, err) == (0, "")
    assert verdict["sent"] == 4
    assert json.loads(verdict_file.read_text()) == verdict
    assert [json.loads(line)["seq"] for line in ledger_file.read_text().splitlines()] == [1, 2, 3, 4]


async def test_violations_make_the_exit_code_1(start_sim: StartSim) -> None:
    sim = start_sim("--guilds", "1", "--large-guilds", "0")
    async with GatewayClient(sim.gateway_url) as client:
        await client.identify(token="wrong")
        await client.close_code()
    assert sim.stop()[0] == 1


def test_it_stops_by_itself_after_the_duration() -> None:
    finished = run("--duration-s", "0.2", "--guilds", "1", "--large-guilds", "0")
    assert finished.returncode == 0
    ready, verdict = map(json.loads, finished.stdout.splitlines())
    assert ready["ready"] is True
    assert verdict["sent"] == 0


async def test_a_script_acts_at_its_times(start_sim: StartSim, tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    steps = [
        {"at_s": 0.2, "fault": {"kind": "close", "code": 4000}},
        {"at_s": 0.1, "dispatch": {"type": "MARK", "data": {}}},
    ]
    script.write_text(json.dumps({"clock": "first_ready", "steps": steps}))
    sim = start_sim("--guilds", "1", "--large-guilds", "0", "--script", str(script))
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        await client.until(t="MARK")
        assert await client.close_code() == 4000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ("[]", "list of 'steps'"),
        ('{"steps":[], "clock":"noon"}', "clock must be"),
        ('{"steps":[{"at_s":1}]}', "step 1"),
        ('{"steps":[{"at_s":-1,"clear_faults":true}]}', "step 1"),
        ('{"steps":[{"at_s":1,"fault":{"kind":"explode"}}]}', "explode"),
        ('{"steps":[{"at_s":1,"traffic":5}]}', "must be an object"),
    ],
)
def test_a_bad_script_is_one_sentence_and_exit_code_2(tmp_path: Path, text: str, words: str) -> None:
    script = tmp_path / "script.json"
    script.write_text(text)
    finished = run("--script", str(script))
    assert finished.returncode == 2
    assert words in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert finished.stdout == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--rate", "fast"], "rate must be"),
        (["--mix", "soup", "--rate", "5"], "soup"),
        (["--shards", "0"], "shards must be at least 1"),
        (["--identify-remaining", "5", "--identify-total", "4"], "identify_remaining must be"),
    ],
)
def test_a_bad_option_is_one_sentence_and_exit_code_2(options: list[str], words: str) -> None:
    finished = run(*options)
    assert finished.returncode == 2
    assert words in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_a_taken_port_is_one_sentence_and_exit_code_1(sim: Sim) -> None:
    port = sim.control_url.rsplit(":", 1)[1]
    finished = run("--gateway-port", port)
    assert finished.returncode == 1
    assert "cannot listen" in finished.stderr
    assert finished.stderr.count("\n") == 1


async def test_send_makes_a_running_simulator_send(sim: Sim) -> None:
    async with GatewayClient(sim.gateway_url) as client:
        await client.start()
        to = ("--control", sim.control_url, "--wait", "0")  # no bot is there to answer
        message = run("send", "message", "hello", *to)
        interaction = run("send", "interaction", "slash", "--options", '{"name": "ping"}', *to)
        assert (message.returncode, interaction.returncode) == (0, 0), (message.stderr, interaction.stderr)
        created = (await client.until(t="MESSAGE_CREATE"))["d"]
        assert (created["id"], created["content"]) == (json.loads(message.stdout)["id"], "hello")
        slash = (await client.until(t="INTERACTION_CREATE"))["d"]
        assert (slash["id"], slash["data"]["name"]) == (json.loads(interaction.stdout)["id"], "ping")


@pytest.mark.parametrize(
    ("options", "returncode", "words"),
    [
        (["slash", "--options", "[]", "--control", "http://127.0.0.1:1"], 2, "JSON object"),
        (["slash", "--control", "127.0.0.1:1"], 2, "http:// URL"),
        (["slash", "--control", "http://127.0.0.1:1"], 1, "no simulator answers"),
    ],
)
def test_send_says_what_is_wrong(options: list[str], returncode: int, words: str) -> None:
    finished = run("send", "interaction", *options)
    assert finished.returncode == returncode
    assert words in finished.stderr


def test_the_default_token_names_the_default_application(sim: Sim) -> None:
    assert DEFAULT_TOKEN == TOKEN
    assert application_id_of("MTIz.abc.def") == 123
    assert application_id_of("no base64 at all") is None
    assert sim.get("/verdict")["token_reset"] is False
