"""`make demo` as a user runs it: all its failures, and Ctrl-C at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent.parent
DEMO = [sys.executable, "-m", "ops.demo"]
PROMPT_S = 20.0
"""Bound for what takes one or two seconds on an idle machine."""


def environment(broker_url: str, **changes: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "DISCORD_TOKEN" and not key.startswith("GW_")}
    return kept | {"AMQP_URL": broker_url} | changes


def test_promises_1_3_4_and_5_hold_in_the_demo_through_all_its_failures(broker_url: str) -> None:
    done = subprocess.run(
        DEMO, cwd=ROOT, env=environment(broker_url, DEMO_SECONDS="8"), capture_output=True, text=True, timeout=170,
        check=False,
    )  # fmt: skip
    report = json.loads(done.stdout.splitlines()[-1])

    assert done.returncode == 0, done.stdout + done.stderr
    for step in ("SIGKILL to consumer", "SIGKILL to worker", "SIGKILL to coordinator", "SIGTERM to worker"):
        assert step in done.stdout
    assert report["sent"] == report["handled"] > 1000
    assert (report["lost"], report["violations"], report["identifies"]) == (0, 0, 4)
    assert report["resumes"] >= 4
    assert 0 < report["p50_ms"] <= report["p99_ms"]
    assert 0 < report["worker_takeover_s"] < 30
    assert 0 < report["coordinator_takeover_s"] < 30


def interrupted(broker_url: str, *, until: Callable[[str], bool]) -> tuple[int, list[str], float]:
    """Exit code and lines of a demo that got Ctrl-C after the first line that `until` takes, and how long it took."""
    with subprocess.Popen(
        DEMO, cwd=ROOT, env=environment(broker_url), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if until(line):
                break
        process.send_signal(signal.SIGINT)
        answered_at = asked_at = time.monotonic()
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                answered_at = time.monotonic()
        return process.wait(60), lines, answered_at - asked_at


def test_the_demo_hears_ctrl_c_while_it_starts(broker_url: str) -> None:
    began_at = time.monotonic()
    code, lines, answer_s = interrupted(broker_url, until=lambda line: line.startswith("starting: simulated"))

    assert code == 130
    assert lines[-1].startswith("Ctrl-C: stopping")
    assert answer_s < PROMPT_S
    assert time.monotonic() - began_at < 3 * PROMPT_S


@pytest.mark.long
def test_the_demo_tells_what_was_played_until_ctrl_c(broker_url: str) -> None:
    code, lines, answer_s = interrupted(broker_url, until=lambda line: "sent" in line and "handled" in line)
    report = json.loads(lines[-1])

    assert code == 130
    assert answer_s < PROMPT_S
    assert not any("SIGTERM to worker" in line for line in lines)
    assert (report["lost"], report["violations"], report["worker_takeover_s"]) == (0, 0, None)
