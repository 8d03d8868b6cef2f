"""`make reliability RUN=NAME`: one fault, hundreds of times; the last line is one JSON object.

Environment: RELIABILITY_COUNT (a shorter or longer run), RELIABILITY_SEED (1), RELIABILITY_RATE (dispatches per
second, 1000; twice as many in broker_outages, 0.4 times in consumer_kills). Exit code 0 only if the run is complete
and all of its bounds hold. Rounds and reports are appended to `.run/reliability/NAME.jsonl`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eventbus.process import run_main
from ops.chaos.reliability.runner import Runner
from ops.chaos.reliability.settings import read_reliability_settings

if TYPE_CHECKING:
    import asyncio

DIRECTORY = Path(__file__).resolve().parent.parent.parent.parent / ".run" / "reliability"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def _main(stop: asyncio.Event) -> None:
    settings = read_reliability_settings(sys.argv[1:], os.environ)
    report = await Runner(settings, DIRECTORY, _say).run(stop)
    _say(json.dumps(report))
    if not report["passed"]:
        raise SystemExit(1)


if __name__ == "__main__":
    run_main("reliability", _main)
