"""`make chaos` and `make soak`: faults against real processes; the last line is one JSON object.

Environment: CHAOS_SEED (1), CHAOS_ROUNDS (20), CHAOS_FIRST (0, the first round: to replay one alone), CHAOS_RATE
(dispatches per second and shard, 50), CHAOS_SHARDS (4), CHAOS_FAULTS (comma-separated kinds, all if not set),
SOAK_SECONDS (3600, with the argument `soak`). Exit code 0 only if nothing was lost, reordered or published by a stale
holder, and no rule of Discord's was broken.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eventbus.process import run_main
from ops.chaos.harness import Harness
from ops.chaos.report import make_report
from ops.chaos.settings import read_settings

if TYPE_CHECKING:
    import asyncio

DIRECTORY = Path(__file__).resolve().parent.parent.parent / ".run" / "chaos"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def _main(stop: asyncio.Event) -> None:
    settings = read_settings(os.environ, is_soak="soak" in sys.argv[1:])
    outcome, stage = await Harness(settings, DIRECTORY / f"seed-{settings.seed}", _say).run(stop)
    report = make_report(settings, outcome, stage.judge)
    for example in stage.judge.witness.reordered_examples:
        _say(f"reordered: {example}")
    for violation in outcome.verdict["violations"][:20]:
        _say(f"violation: {violation}")
    lost, _ = stage.judge.lost_and_forfeited(outcome.sessions)
    for message_id in sorted(lost)[:20]:
        _say(f"lost: {message_id}")
    _say(json.dumps(report))
    if not report["passed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    run_main("chaos", _main)
