"""A simulated Discord and a coordinator, for benchmarks that start consumers and publish by themselves."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMANDS = Path(sys.executable).parent
TOKEN = "bot.token.of-the-benchmark"  # noqa: S105 - the simulator's
END_TIMEOUT_S = 60.0


@contextlib.contextmanager
def running(
    name: str, *arguments: str, environment: dict[str, str], is_quiet: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """One of our commands, until the end of the block."""
    errors = subprocess.DEVNULL if is_quiet else None
    command = [COMMANDS / name, *arguments]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(END_TIMEOUT_S)


@contextlib.contextmanager
def small_fleet(broker_url: str, *, shards: int = 1, guilds: int = 1) -> Iterator[dict[str, str]]:
    """Have both run; the environment that a consumer of theirs needs, in a namespace of its own."""
    environment = {
        **os.environ,
        "AMQP_URL": broker_url,
        "GW_NAMESPACE": f"bench-{secrets.token_hex(4)}",
        "DISCORD_TOKEN": TOKEN,
    }
    size = ("--shards", str(shards), "--guilds", str(guilds))
    with running("gw-sim", "--token", TOKEN, *size, environment=environment, is_quiet=True) as simulator:
        if simulator.stdout is None:
            raise RuntimeError("the simulator has no output")
        environment["GW_REST_URL"] = json.loads(simulator.stdout.readline())["rest_url"]
        with running("gw-coordinator", environment=environment, is_quiet=True):
            yield environment
