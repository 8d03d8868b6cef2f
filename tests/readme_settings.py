"""The README's table of settings, from the settings models: `make readme` writes it, test_readme.py compares it."""

from __future__ import annotations

import re
from pathlib import Path

from consumers.settings import ConsumerSettings
from coordinator.settings import CoordinatorSettings
from eventbus.settings import settings_table
from gateway_workers.settings import WorkerSettings
from ops.ctl_cli import StateSettings
from ops.ctl_fleet import MovingSettings
from ops.run_settings import RunSettings

README = Path(__file__).resolve().parent.parent / "README.md"
COMMANDS = {
    "gw-worker": WorkerSettings,
    "gw-consume": ConsumerSettings,
    "gw-coordinator": CoordinatorSettings,
    "gw-run": RunSettings,
    "gw-ctl state, dead": StateSettings,
    "gw-ctl drain, rebalance": MovingSettings,
}
_TABLE = re.compile(r"(?m)^\| flag \|.*\n(?:\|.*\n)+")


def with_table(readme: str) -> str:
    """`readme` with the table that the models give."""
    return _TABLE.sub(lambda _: settings_table(COMMANDS), readme, count=1)


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
