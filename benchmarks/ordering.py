"""The order of each guild's events while processes come and go: `python -m benchmarks.ordering`, JSON in the last line.

Real consumers of one group under load: 2, then 6, then 3 (one is killed, the others get SIGTERM), with frames published
straight into the exchanges, two event types by turns, guilds over all shards. `inversions`: events whose handlers first
started after those of a later event of their guild. `lost`: handlers that never started. `again`: starts beyond the
first. The exit code is 1 if, with `--ordering guild`, anything was lost or out of order.

Then the price: CPU of one consumer for each dispatch, by `none` and `guild`.

    python -m benchmarks.ordering [none|guild|shard ...]
Environment: BENCH_RATE (300 a second), BENCH_SECONDS (10 in each phase), AMQP_URL for a broker that runs already.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika

from benchmarks.running_broker import open_broker
from benchmarks.small_fleet import COMMANDS, small_fleet
from eventbus.names import Names

if TYPE_CHECKING:
    from collections.abc import Sequence

SHARDS = 32
GUILDS = 64
BURST = 4
"""Dispatches of one guild in a row: what a shared queue puts out of order."""
START_TIMEOUT_S = 600.0
QUIET_S = 60.0
PHASES = (2, 6, 3)
TYPES = ("MESSAGE_DELETE", "GUILD_ROLE_DELETE")


@dataclass(frozen=True, slots=True)
class Start:
    """The handlers of a dispatch started; `cpu_s` is what the process had used up by then."""

    guild: int
    seq: int
    at: float
    sent_at: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of the dispatches that were sent; `longest_s` is from publish to start."""

    sent: int
    inversions: int
    lost: int
    again: int
    p50_ms: float
    p99_ms: float
    longest_s: float


def judge(sent: Sequence[tuple[int, int]], starts: Sequence[Start]) -> Judgement:
    """`sent`: guild and seq of each dispatch, in order."""
    first: dict[tuple[int, int], Start] = {}
    for start in sorted(starts, key=lambda one: one.at):
        first.setdefault((start.guild, start.seq), start)
    highest: dict[int, int] = {}
    inversions = 0
    for start in first.values():  # in the order of their first starts
        inversions += start.seq < highest.get(start.guild, 0)
        highest[start.guild] = max(start.seq, highest.get(start.guild, 0))
    lags = sorted(start.at - start.sent_at for start in first.values()) or [0.0]
    points = statistics.quantiles(lags, n=100) if len(lags) > 1 else lags * 99
    return Judgement(
        sent=len(sent),
        inversions=inversions,
        lost=len(set(sent) - first.keys()),
        again=len(starts) - len(first),
        p50_ms=round(points[49] * 1000, 1),
        p99_ms=round(points[98] * 1000, 1),
        longest_s=round(lags[-1], 2),
    )


def read_starts(directory: Path) -> list[Start]:
    """What all bots wrote down."""
    lines = itertools.chain.from_iterable(path.read_text().splitlines() for path in directory.glob("*.started"))
    starts = []
    for guild, seq, at, sent_us, cpu_s in map(str.split, lines):
        starts.append(Start(int(guild), int(seq), float(at), int(sent_us) / 1e6, float(cpu_s)))
    return starts


class Load:
    """Publishes as workers do, at a steady rate, until it is told to stop."""

    def __init__(self, channel: aio_pika.abc.AbstractChannel, names: Names, rate: float) -> None:
        self._channel = channel
        self._names = names
        self._rate = rate
        self._is_stopped = asyncio.Event()
        self.sent: list[tuple[int, int]] = []

    def stop(self) -> None:
        """End `run`."""
        self._is_stopped.set()

    async def run(self, count: int | None = None) -> None:
        """Publish up to `count`; each is confirmed before the next of its shard, as the order demands."""
        kinds = [await self._channel.declare_exchange(self._names.event(kind), "topic", durable=True) for kind in TYPES]
        began = time.perf_counter()
        for seq in itertools.count(1):
            if self._is_stopped.is_set() or (count is not None and seq > count):
                return
            if not seq % BURST:
                await asyncio.sleep(max(0.0, began + seq / self._rate - time.perf_counter()))
            guild = seq // BURST % GUILDS + 1
            kind = seq % 2
            shard = guild % SHARDS
            await kinds[kind].publish(_message(TYPES[kind], seq, guild, shard), str(shard), mandatory=False)
            self.sent.append((guild, seq))


def _message(event_type: str, seq: int, guild: int, shard: int) -> aio_pika.Message:
    sent_us = str(int(time.time() * 1e6))
    d = {"guild_id": str(guild), "id": sent_us, "role_id": sent_us, "channel_id": "2"}
    return aio_pika.Message(
        json.dumps({"t": event_type, "s": seq, "op": 0, "d": d}).encode(),
        type=event_type,
        message_id=f"measured-{shard}:{seq}",
        headers={"shard": shard, "shard_count": SHARDS, "fencing_token": 1, "received_at": int(time.time())},
        delivery_mode=2,
    )


class Pool:
    """The processes of the group."""

    def __init__(self, environment: dict[str, str], log_directory: Path) -> None:
        self._environment = environment
        self._log_directory = log_directory
        self._count = 0
        self.running: list[tuple[subprocess.Popen[bytes], Path]] = []

    async def grow(self, size: int) -> None:
        """Return when so many consume."""
        while len(self.running) < size:
            log = self._log_directory / f"{self._count}.log"
            self._count += 1
            self.running.append((self._started(log), log))
        async with asyncio.timeout(START_TIMEOUT_S):
            for process, log in self.running:
                while '"consuming"' not in log.read_text():
                    if process.poll() is not None:
                        raise RuntimeError(log.read_text())
                    await asyncio.sleep(0.05)

    def _started(self, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as file:
            return subprocess.Popen([COMMANDS / "gw-consume"], env=self._environment, stderr=file)

    async def shrink(self, size: int, *, kill_first: bool) -> None:
        """End the oldest, half a second after each other; with `kill_first` the first of them by SIGKILL."""
        for number in range(len(self.running) - size):
            process, _ = self.running.pop(0)
            process.send_signal(signal.SIGKILL if kill_first and not number else signal.SIGTERM)
            await asyncio.to_thread(process.wait, 60)
            await asyncio.sleep(0.5)

    async def end(self) -> None:
        """End all, at once."""
        for process, _ in self.running:
            process.terminate()
        for process, _ in self.running:
            await asyncio.to_thread(process.wait, 60)
        self.running.clear()


async def _until_started(load: Load, directory: Path) -> None:
    """Until all that was sent has started, or nothing has for long."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < QUIET_S:
        started = {(one.guild, one.seq) for one in read_starts(directory)}
        if len(started) >= len(load.sent):
            return
        if len(started) > last:
            last, since = len(started), time.monotonic()
        await asyncio.sleep(0.5)


async def come_and_go(
    environment: dict[str, str], directory: Path, *, phases: Sequence[int], rate: float, seconds: float
) -> Judgement:
    """Processes come and go under load; `environment` is what they need, GW_GROUP and GW_ORDERING included."""
    environment |= {
        "GW_ENTRYPOINT": "benchmarks.ordered_bot:setup",
        "GW_ENTRYPOINT_DIR": str(Path(__file__).parents[1]),
        "GW_LOG_FORMAT": "json",
        "ORDERED_DIR": str(directory),
    }
    environment.setdefault("ORDERED_HANDLER_S", "0.02")
    pool = Pool(environment, directory)
    async with await aio_pika.connect(environment["AMQP_URL"], timeout=60) as connection:
        channel = await connection.channel(publisher_confirms=True)
        load = Load(channel, Names(environment["GW_NAMESPACE"]), rate)
        try:
            await pool.grow(phases[0])
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(load.run(), name="load")
                for size in phases[1:]:
                    await asyncio.sleep(seconds)
                    await pool.grow(size)
                    await pool.shrink(size, kill_first=True)
                await asyncio.sleep(seconds)
                load.stop()
            await _until_started(load, directory)
        finally:
            await pool.end()
    return judge(load.sent, read_starts(directory))


async def cpu_us(environment: dict[str, str], directory: Path, *, count: int) -> int:
    """Microseconds of CPU of one consumer for each of `count` dispatches that wait for it."""
    names = Names(environment["GW_NAMESPACE"])
    environment |= {"ORDERED_DIR": str(directory), "ORDERED_HANDLER_S": "0", "GW_LOG_FORMAT": "json"}
    environment |= {"GW_ENTRYPOINT": "benchmarks.ordered_bot:setup"}
    environment |= {"GW_ENTRYPOINT_DIR": str(Path(__file__).parents[1])}
    pool = Pool(environment, directory)
    await pool.grow(1)
    async with await aio_pika.connect(environment["AMQP_URL"], timeout=60) as connection:
        load = Load(await connection.channel(publisher_confirms=False), names, 1e6)
        await load.run(count)
        await _until_started(load, directory)
    await pool.end()
    used = [start.cpu_s for start in sorted(read_starts(directory), key=lambda one: one.cpu_s)]
    warm = len(used) // 10
    return round((used[-1] - used[warm]) / (len(used) - warm) * 1e6)


async def _main() -> int:
    orderings = sys.argv[1:] or ["none", "guild"]
    rate, seconds = float(os.environ.get("BENCH_RATE", "300")), float(os.environ.get("BENCH_SECONDS", "10"))
    result: dict[str, Any] = {"rate": rate, "seconds": seconds, "phases": PHASES}
    is_good = True
    async with contextlib.AsyncExitStack() as ending:
        scratch = Path(ending.enter_context(tempfile.TemporaryDirectory()))
        broker = await ending.enter_async_context(open_broker())
        environment = ending.enter_context(small_fleet(broker.url, shards=SHARDS, guilds=32))
        for ordering in orderings:
            chosen = {**environment, "GW_GROUP": ordering, "GW_ORDERING": ordering}
            (directory := scratch / ordering).mkdir()
            found = await come_and_go(chosen, directory, phases=PHASES, rate=rate, seconds=seconds)
            (directory := scratch / f"{ordering}-cpu").mkdir()
            price = await cpu_us({**chosen, "GW_GROUP": f"{ordering}-cpu"}, directory, count=5000)
            result[ordering] = {name: getattr(found, name) for name in found.__slots__} | {"cpu_us": price}
            is_good &= not found.lost and (ordering == "none" or not found.inversions)
            print(json.dumps({ordering: result[ordering]}), flush=True)
    print(json.dumps(result))
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
