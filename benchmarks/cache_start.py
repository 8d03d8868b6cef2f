"""What a process pays for its cache at the start: memory and CPU of reading a generation of many guilds.

`python -m benchmarks.cache_start [--guilds N] [--large N] [--parts PARTS]` prints one line of JSON. The broker is left
out: what is measured is inflating, parsing and hikari's building of objects, which take nearly all of the time. The
generation is written to a file first, by a process of its own, so that the memory is the cache's alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hikari
from hikari import impl

from consumers import Bot
from consumers.cache_parts import CacheParts
from consumers.cache_records import GuildRecord, pack, unpack
from consumers.cache_writer import CacheWriter
from consumers.shard_proxy import ShardProxy
from gateway_sim.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = struct.Struct("<20sI")
MIB = 1 << 20


def write(path: Path, guild_count: int, large_count: int, parts: CacheParts) -> None:
    """Write a generation: for each message its event type, its length and its body."""
    world = World(bot_token="t", guild_count=guild_count, large_guilds=large_count)  # noqa: S106 - no secret
    with path.open("wb") as file:
        for guild_id in world.guild_ids:
            for event_type, payload in GuildRecord(world.guild(guild_id)).frames(heavy=parts.heavy):
                body = pack(payload)
                file.write(_HEAD.pack(event_type.encode(), len(body)) + body)


def read(path: Path) -> Iterator[tuple[str, bytes]]:
    """The messages of such a file."""
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            event_type, length = _HEAD.unpack(head)
            yield event_type.rstrip(b"\0").decode(), file.read(length)


def any_shard() -> ShardProxy:
    """A shard of a bot that does not run."""
    nothing: Any = None
    return ShardProxy(
        0,
        1,
        intents=hikari.Intents.ALL,
        user_id=hikari.Snowflake(9),
        commands=nothing,
        fleet=nothing,
        closed=asyncio.Event(),
    )


def resident_mib() -> float:
    """The memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


def load(path: Path, parts: CacheParts) -> dict[str, float]:
    """Fill a cache from the file; what it cost."""
    bot = Bot("amqp://127.0.0.1/", "token")
    cache = impl.CacheImpl(bot, impl.CacheSettings(components=parts.components))
    writer, shard = CacheWriter(bot.entity_factory, bot.event_factory, cache, parts), any_shard()
    before_mib, began = resident_mib(), time.process_time()
    for event_type, body in read(path):
        writer.apply(event_type, shard, unpack(body))
    cpu_s = time.process_time() - began
    return {
        "guilds": len(writer.guild_ids),
        "generation_mib": round(path.stat().st_size / MIB, 1),
        "cpu_s": round(cpu_s, 2),
        "memory_mib": round(resident_mib() - before_mib, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cache_start")
    parser.add_argument("--guilds", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=20, help="guilds of 2,500 members, of which 780 are sent")
    parser.add_argument("--parts", default="guilds,channels,roles", help="as gw-consume --cache")
    parser.add_argument("--write", type=Path, help="write the generation to this file and end")
    arguments = parser.parse_args()
    parts = CacheParts.parse(arguments.parts)
    if arguments.write:
        write(arguments.write, arguments.guilds, arguments.large, parts)
        return
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "generation"
        subprocess.run(
            [sys.executable, "-m", "benchmarks.cache_start", *sys.argv[1:], "--write", str(path)], check=True
        )
        print(json.dumps({"benchmark": "cache_start", "parts": sorted(parts.names), **load(path, parts)}))


if __name__ == "__main__":
    main()
