"""What the consumers' tests stand on: gw-sim for REST, real gw-coordinator and gw-consume, frames by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import aio_pika

from eventbus.names import Names
from tests.forge import Forge, ForgedProcess
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aio_pika.abc import AbstractChannel

COMMANDS = Path(sys.executable).parent
BOTS = Path(__file__).parent
BOT_TOKEN = "bot.token.of-the-tests"
PATIENCE_S = 60.0
START_PATIENCE_S = 80.0
SHARD_COUNT = 2
AUTHOR = {"id": "3", "username": "u", "discriminator": "0", "avatar": None, "global_name": None}


def is_running(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass(frozen=True)
class Fleet:
    """A simulated Discord and a coordinator in a namespace of their own; each test has a group of its own in it."""

    broker_url: str
    names: Names
    rest_url: str
    control_url: str
    intents: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process of the fleet needs; nothing else of ours comes through."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
        intents = {"GW_INTENTS": self.intents} if self.intents else {}
        return (
            kept
            | intents
            | {
                "AMQP_URL": self.broker_url,
                "GW_NAMESPACE": self.names.namespace,
                "GW_REST_URL": self.rest_url,
                "DISCORD_TOKEN": BOT_TOKEN,
                "GW_LOG_FORMAT": "json",
            }
        )


@contextlib.contextmanager
def fleet(broker_url: str, *, guild_count: int = 4, intents: str | None = None) -> Iterator[Fleet]:
    """Start them, and end them; `intents` are the coordinator's, its default if None."""
    with contextlib.ExitStack() as ending:
        options = ("--token", BOT_TOKEN, "--shards", str(SHARD_COUNT), "--guilds", str(guild_count))
        said = ending.enter_context(command_running("gw-sim", options, dict(os.environ)))
        ready = json.loads(said.readline())
        names = Names(f"consume-{secrets.token_hex(4)}")
        running = Fleet(broker_url, names, ready["rest_url"], ready["control_url"], intents)
        ending.enter_context(command_running("gw-coordinator", (), running.environment))
        yield running


@contextlib.contextmanager
def command_running(command: str, arguments: Sequence[str], environment: dict[str, str]) -> Iterator[IO[bytes]]:
    """Its standard output."""
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as said, Path(os.devnull).open("wb") as nowhere:
        process = Forge.shared().start(command, arguments, environment, out=theirs, err=nowhere.fileno())
        os.close(theirs)
        try:
            yield said
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def whole_lines(file: Path) -> list[str]:
    """What stands in a file that is being written, without a line that has not ended."""
    return file.read_bytes().rpartition(b"\n")[0].decode().splitlines()


class ConsumeProcess:
    """A gw-consume, or a script that consumes, of its own."""

    def __init__(self, process: subprocess.Popen[bytes] | ForgedProcess, log_file: Path) -> None:
        self.process = process
        self._log_file = log_file

    @classmethod
    def of_command(cls, arguments: Sequence[str], environment: dict[str, str], log_file: Path) -> ConsumeProcess:
        """A gw-consume."""
        if "PYTHONPATH" in environment:  # other packages than the forge's
            return cls._of_program([COMMANDS / "gw-consume", *arguments], environment, log_file)
        with log_file.open("wb") as log, Path(os.devnull).open("wb") as nowhere:
            forge = Forge.shared()
            out, err = nowhere.fileno(), log.fileno()
            return cls(forge.start("gw-consume", arguments, environment, out=out, err=err), log_file)

    @classmethod
    def of_script(cls, script: Path, environment: dict[str, str], log_file: Path) -> ConsumeProcess:
        """A program of the user's."""
        return cls._of_program([sys.executable, script], environment, log_file)

    @classmethod
    def _of_program(cls, program: Sequence[str | Path], environment: dict[str, str], log_file: Path) -> ConsumeProcess:
        with log_file.open("wb") as log:
            nothing = subprocess.DEVNULL
            process = subprocess.Popen(program, env=environment, stdout=nothing, stderr=log, stdin=nothing)
            return cls(process, log_file)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> list[dict[str, Any]]:
        """The entries of its log, and of its children's."""
        return [json.loads(line) for line in self._lines() if line.startswith("{")]

    @property
    def sentences(self) -> list[str]:
        """What it said to its user, without the log."""
        return [line for line in self._lines() if not line.startswith("{")]

    def _lines(self) -> list[str]:
        return whole_lines(self._log_file)

    def logged(self, action: str) -> list[dict[str, Any]]:
        return [entry for entry in self.log if entry.get("action") == action]

    async def until_logged(self, action: str, *, count: int = 1) -> None:
        def is_logged() -> bool:
            has_ended = self.process.poll() is not None
            is_there = len(self.logged(action)) >= count
            assert is_there or not has_ended, self._lines()
            return is_there

        await eventually(is_logged)

    async def until_logged_or_ended(self, action: str) -> None:
        await eventually(lambda: self.logged(action) or self.process.poll() is not None)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        """The exit code."""
        async with asyncio.timeout(PATIENCE_S):
            while self.process.poll() is None:  # noqa: ASYNC110 - a process
                await asyncio.sleep(0.02)
        assert self.process.returncode is not None
        return self.process.returncode

    async def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait()


@dataclass
class Rig:
    """One test: group, session names, processes, what its bots recorded, and a channel to publish and look by."""

    fleet: Fleet
    observer: AbstractChannel
    directory: Path
    group: str = field(default_factory=lambda: f"g{secrets.token_hex(4)}")
    session: str = field(default_factory=lambda: f"s{secrets.token_hex(4)}")
    """Of its own too: streams outlive a test, and a dispatch with the id of another test's would be that one."""
    processes: list[ConsumeProcess] = field(default_factory=list)
    _seq: int = 0

    @property
    def names(self) -> Names:
        return self.fleet.names

    @property
    def queue(self) -> str:
        return self.names.group(self.group)

    def start(self, *arguments: str, **environment: str) -> ConsumeProcess:
        """A gw-consume; `environment` changes what it gets, "" takes a variable away."""
        defaults = {
            "GW_ENTRYPOINT": "consume_bots:setup",
            "GW_ENTRYPOINT_DIR": str(BOTS),
            "GW_GROUP": self.group,
            "RECORD_FILE": str(self.record_file),
            "GW_MAX_INTERACTION_AGE": "900",  # a slow machine skips none
        }
        full = {name: value for name, value in (self.fleet.environment | defaults | environment).items() if value}
        log_file = self.directory / f"{len(self.processes)}.log"
        process = ConsumeProcess.of_command(arguments, full, log_file)
        self.processes.append(process)
        return process

    async def started(self, *arguments: str, **environment: str) -> ConsumeProcess:
        """One that consumes."""
        process = self.start(*arguments, **environment)
        async with asyncio.timeout(START_PATIENCE_S):
            while not process.logged("consuming"):
                assert process.process.poll() is None or process.logged("consuming"), process.sentences
                await asyncio.sleep(0.05)
        return process

    @property
    def record_file(self) -> Path:
        return self.directory / "record"

    def let_go(self) -> None:
        """Let the handlers that hold end."""
        (self.directory / "record.go").touch()

    def recorded(self, what: str, **fields: Any) -> list[dict[str, Any]]:
        """What the bots wrote down."""
        if not self.record_file.exists():
            return []
        entries = [json.loads(line) for line in whole_lines(self.record_file)]
        return [one for one in entries if one["what"] == what and all(one[k] == v for k, v in fields.items())]

    async def until_recorded(self, what: str, *, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
        await eventually(lambda: len(self.recorded(what, **fields)) >= count)
        return self.recorded(what, **fields)

    async def publish_raw(self, event_type: str, body: bytes, *, shard: int = 0, **changes: Any) -> None:
        """A frame, as a worker publishes it, unless `changes` say otherwise. DeliveryError: nobody wants it."""
        self._seq += 1
        headers = plain_headers(shard)
        properties: dict[str, Any] = {
            "content_type": "application/json",
            "delivery_mode": aio_pika.DeliveryMode.PERSISTENT,
            "type": event_type,
            "message_id": f"{self.session}-{shard}:{self._seq}",
            "headers": headers,
        }
        message = aio_pika.Message(body, **{**properties, **changes})
        exchange = await self.observer.declare_exchange(self.names.event(event_type), type="topic", durable=True)
        await exchange.publish(message, str(shard), timeout=10)

    async def publish(self, event_type: str, d: Any, **changes: Any) -> None:
        body = json.dumps({"t": event_type, "s": self._seq + 1, "op": 0, "d": d}).encode()
        await self.publish_raw(event_type, body, **changes)

    async def say(self, content: str, **changes: Any) -> None:
        """A MESSAGE_CREATE."""
        await self.publish("MESSAGE_CREATE", message(content, self._seq + 1), **changes)

    async def is_wanted(self, event_type: str, d: Any) -> bool:
        """Whether a dispatch of the type reaches a queue."""
        try:
            await self.publish(event_type, d)
        except aio_pika.exceptions.DeliveryError:
            return False
        return True

    async def ready_count(self, queue: str) -> int:
        declared = await self.observer.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0

    def closing_counts(self, process: ConsumeProcess) -> dict[str, Any]:
        """What a process that ended said it had counted."""
        return process.logged("closed")[-1]

    async def dead_letters(self, *, count: int = 1) -> list[aio_pika.abc.AbstractIncomingMessage]:
        queue = await self.observer.get_queue(self.names.dead(self.group))
        found: list[aio_pika.abc.AbstractIncomingMessage] = []

        async def take() -> bool:
            letter = await queue.get(fail=False, no_ack=True, timeout=10)
            if letter is not None:
                found.append(letter)
            return len(found) >= count

        await eventually(take)
        return found

    async def has_settled_all(self) -> bool:
        """Whether the queue is empty when all its consumers are gone: nothing is left unacknowledged."""
        lanes = (self.queue, f"{self.queue}.interactions", f"{self.queue}.quarantine")
        return not any([await self.ready_count(lane) for lane in lanes])


@contextlib.asynccontextmanager
async def rig(fleet: Fleet, observer: AbstractChannel, directory: Path) -> Any:
    """A Rig whose processes end with it, and whose queues go."""
    tested = Rig(fleet, observer, directory)
    try:
        yield tested
    finally:
        for process in tested.processes:
            if process.process.poll() is None:
                process.process.kill()
            process.process.wait()
        for queue in (
            tested.queue,
            f"{tested.queue}.interactions",
            f"{tested.queue}.quarantine",
            tested.names.dead(tested.group),
        ):
            await observer.queue_delete(queue)


def plain_headers(shard: int = 0, **changes: Any) -> dict[str, Any]:
    """The headers of a dispatch, as a worker sets them."""
    received_at = int(time.time())  # aio-pika would make a float a single
    return {
        "shard": shard,
        "shard_count": SHARD_COUNT,
        "fencing_token": 5,
        "replayed": False,
        "received_at": received_at,
        **changes,
    }


def message(content: str, number: int = 1) -> dict[str, Any]:
    """`d` of a MESSAGE_CREATE in a direct message."""
    return {
        "id": str(number), "channel_id": "2", "content": content, "timestamp": "2026-01-02T03:04:05+00:00",
        "author": AUTHOR, "edited_timestamp": None, "flags": 0, "tts": False, "mention_everyone": False,
        "mentions": [], "mention_roles": [], "attachments": [], "embeds": [], "pinned": False, "type": 0,
    }  # fmt: skip


def typing(channel: int) -> dict[str, Any]:
    """`d` of a TYPING_START in a direct message."""
    return {"channel_id": str(channel), "user_id": "3", "timestamp": 1767312000}


def interaction(number: int, custom_id: str = "c") -> dict[str, Any]:
    """`d` of an INTERACTION_CREATE: a button was pressed in a direct message."""
    return {
        "id": str(number), "application_id": "8", "type": 3, "token": "t", "version": 1, "channel_id": "2",
        "channel": {"id": "2", "type": 1, "last_message_id": None, "recipients": [AUTHOR]}, "user": AUTHOR,
        "locale": "en-US", "entitlements": [], "authorizing_integration_owners": {}, "context": 1,
        "data": {"custom_id": custom_id, "component_type": 2}, "message": message("m", 9), "app_permissions": "0",
        "attachment_size_limit": 1,
    }  # fmt: skip
