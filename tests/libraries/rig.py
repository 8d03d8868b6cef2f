# ruff: noqa: S310 - the simulator's URLs
"""A whole fleet for the libraries' bots: gw-sim, coordinator and worker once, and a pool of gw-consume for each."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ops.run_settings import SIMULATOR_TOKEN
from tests.forge import Forge, ForgedProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
COMMANDS = Path(sys.executable).parent
WAIT_S = 60.0  # a machine that does much else
STOP_S = 60.0
ALL_THE_TIME = ("--answer-within-s", "60")
"""So that a slow machine does not make an answer too late."""
NO_REQUESTS = 10**9
"""After so many, the journal has none."""
LIGHTBULB_PATH = os.pathsep.join(str(ROOT / ".tools" / one) for one in ("hikari-2.6.0", "lightbulb"))
"""lightbulb pins hikari 2.6, the others run with 2.7: it has both for itself."""


def eventually(condition: Callable[[], Any], what: str) -> Any:
    """Wait until `condition()` gives something true, and return it."""
    deadline = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {WAIT_S:g} s: {what}"
        time.sleep(0.05)
    return found


class Simulator:
    """gw-sim's control API."""

    def __init__(self, url: str, rest_url: str) -> None:
        self._url = url
        self._rest_url = rest_url

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self._url}{path}", timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(f"{self._url}{path}", json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def journal(self, after: int = 0) -> Any:
        return self.get(f"/rest?after={after}")

    def rest(self, path: str) -> Any:
        """Ask Discord's REST, as the bot."""
        request = urllib.request.Request(f"{self._rest_url}{path}", headers={"Authorization": f"Bot {SIMULATOR_TOKEN}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def member_ids(self) -> list[str]:
        """Of the first guild."""
        guild_id = self.rest("/users/@me/guilds")[0]["id"]
        members = self.rest(f"/guilds/{guild_id}/members?limit=10")
        return [member["user"]["id"] for member in members if not member["user"].get("bot")]


@dataclass
class Process:
    """One of our commands, and what it logged."""

    popen: subprocess.Popen[bytes] | ForgedProcess
    log_file: Path
    is_asked: bool = False
    """Whether it was asked to stop."""

    def log(self) -> list[dict[str, Any]]:
        lines = self.log_file.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def logged(self, action: str) -> list[dict[str, Any]]:
        return [entry for entry in self.log() if entry.get("action") == action]

    def until_logged(self, action: str) -> None:
        def is_there() -> bool:
            assert self.popen.poll() is None or self.logged(action), self.log_file.read_text()
            return bool(self.logged(action))

        eventually(is_there, f"{action} in {self.log_file.name}")

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(STOP_S)

    def ask_to_stop(self) -> None:
        self.is_asked = True
        self.popen.terminate()

    def stop(self) -> int:
        """Its exit code. A second signal would force it."""
        if not self.is_asked:
            self.ask_to_stop()
        return self.popen.wait(WAIT_S)


@dataclass
class World:
    """The fleet, without consumers."""

    simulator: Simulator
    environment: dict[str, str]
    directory: Path
    processes: list[Process] = field(default_factory=list)

    def start(self, name: str, command: list[str], **changes: str) -> Process:
        log_file = self.directory / f"{name}-{len(self.processes)}.log"
        environment = {**self.environment, **changes}
        with log_file.open("wb") as log:
            process = Process(_start(command, environment, log), log_file)
        self.processes.append(process)
        return process


def _start(command: list[str], environment: dict[str, str], log: IO[bytes]) -> subprocess.Popen[bytes] | ForgedProcess:
    name, *arguments = command
    if "PYTHONPATH" in environment:  # with other packages than the forge's
        program, nothing = [COMMANDS / name, *arguments], subprocess.DEVNULL
        return subprocess.Popen(program, env=environment, stdout=log, stderr=log, stdin=nothing)
    return Forge.shared().start(name, arguments, environment, out=log.fileno(), err=log.fileno())


@contextlib.contextmanager
def world(broker_url: str, directory: Path) -> Iterator[World]:
    """Start it, and end all that was started in it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    environment = kept | {
        "AMQP_URL": broker_url,
        "GW_NAMESPACE": f"libraries-{secrets.token_hex(4)}",
        "GW_INTENTS": "ALL",
        "GW_MAX_INTERACTION_AGE": "0",  # a slow machine must not make an interaction too late to be run
        "GW_LOG_FORMAT": "json",
        "DISCORD_TOKEN": SIMULATOR_TOKEN,
    }
    command = [COMMANDS / "gw-sim", "--shards", "1", "--guilds", "4", "--large-guilds", "0", *ALL_THE_TIME]
    with subprocess.Popen(command, env=kept, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as sim:
        assert sim.stdout is not None
        ready = json.loads(sim.stdout.readline())
        made = World(
            Simulator(ready["control_url"], ready["rest_url"]),
            environment | {"GW_REST_URL": ready["rest_url"]},
            directory,
        )
        try:
            made.start("coordinator", ["gw-coordinator"])
            made.start("worker", ["gw-worker", "--shards", "0"])
            eventually(lambda: made.simulator.get("/verdict")["by_type"].get("GUILD_CREATE", 0) >= 4, "the shard is up")
            yield made
        finally:
            for process in reversed(made.processes):
                if process.popen.poll() is None:
                    process.popen.terminate()
            for process in made.processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.popen.wait(STOP_S)
                process.kill()
            sim.terminate()


@dataclass
class Pool:
    """The consumer processes of one library's bot. `request_count` of REST says what came since its start."""

    world: World
    library: str
    processes: list[Process] = field(default_factory=list)
    _first_request: int = 0

    def __post_init__(self) -> None:
        self._first_request = self.world.simulator.journal(NO_REQUESTS)["request_count"]

    def add(self, count: int = 1) -> None:
        """Start `count` processes at once, and wait until all take deliveries."""
        for process in [self.start() for _ in range(count)]:
            process.until_logged("consuming")

    def start(self) -> Process:
        """Start a process, without waiting for it."""
        changes = {"PYTHONPATH": LIGHTBULB_PATH} if self.library == "lightbulb" else {}
        entrypoint = f"tests.libraries.bots.{self.library}_bot:setup"
        command = ["gw-consume", "--entrypoint", entrypoint, "--entrypoint-dir", str(ROOT), "--group", self.library]
        process = self.world.start(self.library, command, **changes)
        self.processes.append(process)
        return process

    def shrink(self, count: int) -> None:
        """Stop all but `count`, at once."""
        self.processes, stopping = self.processes[:count], self.processes[count:]
        for process in stopping:
            process.ask_to_stop()
        assert [process.stop() for process in stopping] == [0] * len(stopping)

    def requests(self, method: str, ending: str) -> list[dict[str, Any]]:
        """What the pool asked of REST."""
        since = self.world.simulator.journal(self._first_request)["requests"]
        return [one for one in since if one["method"] == method and one["path"].partition("?")[0].endswith(ending)]

    # Interactions

    def send(self, kind: str, **options: Any) -> dict[str, Any]:
        """Have Discord send an interaction; its id and token."""
        sent: dict[str, Any] = self.world.simulator.post("/interaction", {"kind": kind, **options})
        assert sent["delivered"] == 1
        return sent

    def ask(self, kind: str, **options: Any) -> dict[str, Any]:
        """Send an interaction; the callback that Discord accepted, and nothing but that one."""
        sent = self.send(kind, **options)
        body = self.callback_of(sent)
        assert [one["outcome"] for one in self.answers()[sent["id"]]] == ["accepted"]
        return body

    def callback_of(self, sent: dict[str, Any]) -> dict[str, Any]:
        """The one answer to an interaction that Discord accepted."""
        eventually(lambda: self.accepted(sent["id"]), f"{sent['id']} is answered: {self.errors()}")
        path = f"/interactions/{sent['id']}/{sent['token']}/callback"
        bodies = [one["body"] for one in self.requests("POST", path) if one["status"] < HTTPStatus.BAD_REQUEST]
        assert len(bodies) == 1, bodies
        return dict(bodies[0])

    def message_id_of(self, sent: dict[str, Any]) -> str | None:
        """The message that the answer made, once there is one."""
        simulator = self.world.simulator
        application_id = simulator.rest("/applications/@me")["id"]
        return str(simulator.rest(f"/webhooks/{application_id}/{sent['token']}/messages/@original")["id"])

    def accepted(self, interaction_id: str) -> int:
        """How many answers to it Discord accepted."""
        return sum(answer["outcome"] == "accepted" for answer in self.answers().get(interaction_id, ()))

    def answers(self) -> dict[str, list[dict[str, Any]]]:
        """Every try to answer an interaction, by the interaction's id."""
        answers: dict[str, list[dict[str, Any]]] = self.world.simulator.journal(NO_REQUESTS)["answers"]
        return answers

    def says(self, kind: str, **options: Any) -> str:
        """The text with which an interaction is answered, deferred or not."""
        sent = self.send(kind, **options)
        return self.text_of(sent)

    def text_of(self, sent: dict[str, Any]) -> str:
        """The text of the one answer to an interaction, deferred or not."""
        text: str = eventually(lambda: self._text(sent), f"{sent['id']} gets a text: {self.errors()}")
        assert self.accepted(sent["id"]) == 1
        return text

    def _text(self, sent: dict[str, Any]) -> str | None:
        wanted = (f"/interactions/{sent['id']}/{sent['token']}/callback", f"/{sent['token']}", "/messages/@original")
        for request in reversed(self.world.simulator.journal(self._first_request)["requests"]):
            if sent["token"] in request["path"] and request["path"].partition("?")[0].endswith(wanted):
                body = request["body"] or {}
                if text := (body.get("content") or (body.get("data") or {}).get("content")):
                    return str(text)
        return None

    def errors(self) -> list[dict[str, Any]]:
        """What the processes complained of."""
        return [one for process in self.processes for one in process.log() if one["level"] in ("ERROR", "WARNING")]
