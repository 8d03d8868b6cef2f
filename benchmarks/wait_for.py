"""`wait_for` in three processes of a group at once, again and again: who got what. One line of JSON at the end.

In each round every process waits for a message of its own; all are sent as soon as all wait, but for each tenth round,
in which none is: then each must time out. `wrong`: an event of another's, none though it was sent, or one that was not
sent. `bindings_left`: whether a queue is still bound when nobody waits any more. Exit code 0 only if both are 0.

    python -m benchmarks.wait_for [ROUNDS]      environment: AMQP_URL for a broker that runs already
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika

from benchmarks.conclusion import conclude
from benchmarks.running_broker import open_broker
from benchmarks.small_fleet import small_fleet
from eventbus.names import Names
from ops.chaos.reliability.bounds import Bound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROCESS_COUNT = 3
ROUNDS = 1000
SILENT_EVERY = 10
"""Rounds in which nothing is sent."""
WAIT_S, SILENT_WAIT_S = 30.0, 0.2
START_S, UNBIND_S = 120.0, 90.0
EVENT_TYPE = "MESSAGE_CREATE"
BOT = Path(__file__).with_name("waiting_bot.py")


@dataclass
class Result:
    """Waits that ended as they should, and those that did not."""

    resolved: int = 0
    timed_out: int = 0
    wrong: int = 0
    bindings_left: int = 0
    heard: dict[str, int] = field(default_factory=dict)
    """By content: how often listeners got it, in whatever process."""


class WaitingBot:
    """A process that waits as it is told."""

    def __init__(self, process: asyncio.subprocess.Process, heard: dict[str, int]) -> None:
        self._process = process
        self._heard = heard

    async def told(self, *kinds: str) -> dict[str, Any]:
        """The next line of one of these kinds."""
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        while True:
            line = json.loads(await self._process.stdout.readline())
            if "heard" in line:
                self._heard[line["heard"]] = self._heard.get(line["heard"], 0) + 1
            if not line.keys().isdisjoint(kinds):
                return dict(line)

    async def begin(self, content: str, timeout_s: float) -> None:
        """Return when it waits."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        self._process.stdin.write(json.dumps({"wait": content, "timeout": timeout_s}).encode() + b"\n")
        await self.told("waiting")

    async def outcome(self) -> dict[str, Any]:
        """How the wait ended."""
        return await self.told("resolved", "timed_out")

    async def end(self) -> None:
        """Close the bot, and read the rest of what it says."""
        out, _ = await self._process.communicate(b"")  # which closes its standard input
        for line in map(json.loads, out.splitlines()):
            if "heard" in line:
                self._heard[line["heard"]] = self._heard.get(line["heard"], 0) + 1


class Messages:
    """Publishes MESSAGE_CREATE as a worker does."""

    def __init__(self, exchange: aio_pika.abc.AbstractExchange) -> None:
        self._exchange = exchange
        self._seq = 0

    async def send(self, content: str) -> bool:
        """Whether a queue took it."""
        self._seq += 1
        author = {"id": "3", "username": "u", "discriminator": "0", "avatar": None, "global_name": None}
        d = {
            "id": str(self._seq), "channel_id": "2", "content": content, "timestamp": "2026-01-02T03:04:05+00:00",
            "author": author, "edited_timestamp": None, "flags": 0, "tts": False, "mention_everyone": False,
            "mentions": [], "mention_roles": [], "attachments": [], "embeds": [], "pinned": False, "type": 0,
        }  # fmt: skip
        message = aio_pika.Message(
            json.dumps({"t": EVENT_TYPE, "s": self._seq, "op": 0, "d": d}).encode(),
            type=EVENT_TYPE,
            message_id=f"measured:{self._seq}",
            headers={"shard": 0, "shard_count": 1, "fencing_token": 1, "received_at": int(time.time())},
        )
        try:
            await self._exchange.publish(message, "0", timeout=30)
        except aio_pika.exceptions.DeliveryError:
            return False
        return True


async def measure(environment: dict[str, str], rounds: int, *, listen: bool = False) -> Result:
    """Rounds in a fleet that runs: `environment` is what its consumers need, GW_GROUP included."""
    result = Result()
    if listen:
        environment = {**environment, "LISTEN": "1"}
    names = Names(environment["GW_NAMESPACE"])
    async with await aio_pika.connect(environment["AMQP_URL"], timeout=30) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        messages = Messages(await channel.declare_exchange(names.event(EVENT_TYPE), "topic", durable=True))
        async with _bots(environment, result) as bots:
            for number in range(rounds):
                await _round(bots, messages, number, result)
            if not listen:
                result.bindings_left = int(not await _is_unbound(messages))
    return result


async def _round(bots: list[WaitingBot], messages: Messages, number: int, result: Result) -> None:
    contents = [f"{number}:{index}" for index in range(len(bots))]
    is_silent = number % SILENT_EVERY == SILENT_EVERY - 1
    timeout_s = SILENT_WAIT_S if is_silent else WAIT_S
    await asyncio.gather(*(bot.begin(content, timeout_s) for bot, content in zip(bots, contents, strict=True)))
    if not is_silent:
        for content in contents:
            await messages.send(content)
    for content, outcome in zip(contents, await asyncio.gather(*(bot.outcome() for bot in bots)), strict=True):
        if is_silent and outcome == {"timed_out": content}:
            result.timed_out += 1
        elif not is_silent and outcome == {"resolved": content, "with": content}:
            result.resolved += 1
        else:
            result.wrong += 1


async def _is_unbound(messages: Messages) -> bool:
    deadline = time.monotonic() + UNBIND_S
    while time.monotonic() < deadline:
        if not await messages.send("nobody waits"):
            return True
        await asyncio.sleep(0.5)
    return False


@contextlib.asynccontextmanager
async def _bots(environment: dict[str, str], result: Result) -> AsyncIterator[list[WaitingBot]]:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, BOT, env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(PROCESS_COUNT)
    ]
    bots = [WaitingBot(process, result.heard) for process in processes]
    try:
        async with asyncio.timeout(START_S):
            await asyncio.gather(*(bot.outcome() for bot in bots))  # of the first wait
        yield bots
        await asyncio.gather(*(bot.end() for bot in bots))
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    async with open_broker() as broker:
        with small_fleet(broker.url) as environment:
            result = await measure({**environment, "GW_GROUP": "main"}, rounds)
    figures = {name: value for name, value in asdict(result).items() if name != "heard"}
    conclude(figures, (Bound("wrong", most=0), Bound("bindings_left", most=0)))


if __name__ == "__main__":
    asyncio.run(_main())
