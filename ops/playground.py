"""What a user of `gw-run --sim` can type in another shell to have the simulated Discord send something."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
from typing import TYPE_CHECKING, Any

from ops.simulator_client import SimulatorClient

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PATIENCE_S = 60.0
POLL_INTERVAL_S = 0.2

_SLASH = 1
_CONTAINERS = (1, 2)  # a subcommand, a group of them
_SAMPLES: dict[int, Any] = {3: "Ada", 4: 1, 5: True, 10: 0.5}
"""Values of options by Discord's type: text, integer, yes or no, number."""


async def suggestions(control_url: str, shard_count: int) -> list[str]:
    """Commands that work as they stand: the first slash command that the bot has registered, and a message.

    They are given when the shards are connected, so that somebody gets what is sent.
    """
    async with SimulatorClient(control_url) as simulator:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while len(await simulator.sessions()) < shard_count:  # noqa: ASYNC110 - the simulator tells nobody
                    await asyncio.sleep(POLL_INTERVAL_S)
        commands = await simulator.commands()
    return [f"{line} --control {control_url}" for line in lines_for(commands)]


def lines_for(commands: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The commands to type, without where the simulator is: a slash command first, if there is one."""
    for command in commands:
        options = _options_of(command)
        if options is not None:
            yield f"gw-sim send interaction slash --options {shlex.quote(json.dumps(options))}"
            break
    yield "gw-sim send message ping"


def _options_of(command: dict[str, Any]) -> dict[str, Any] | None:
    """None if it is no slash command, or one that cannot be called without knowing more."""
    options = command.get("options") or []
    needed = [option for option in options if option.get("required")]
    if command["type"] != _SLASH or any(option["type"] in _CONTAINERS for option in options):
        return None
    if any(option["type"] not in _SAMPLES or "choices" in option for option in needed):
        return None
    sample = {option["name"]: _SAMPLES[option["type"]] for option in needed}
    return {"name": command["name"]} | ({"options": sample} if sample else {})
