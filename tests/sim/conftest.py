"""`start_sim` runs gw-sim as a real process on free ports; `sim` is one with the defaults of these tests."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

START_S = 30.0
TIMEOUT_S = 40.0


class Sim:
    """A running gw-sim: its URLs and its control API."""

    def __init__(self, process: subprocess.Popen[str], ready: dict[str, Any]) -> None:
        self.process = process
        self.rest_url: str = ready["rest_url"]
        self.gateway_url: str = ready["gateway_url"]
        self.resume_url: str = ready["resume_url"]
        self.control_url: str = ready["control_url"]

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.control_url + path, data, method=method)  # noqa: S310 - ours
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 - ours
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def get(self, path: str) -> Any:
        status, body = self.call("GET", path)
        assert status == 200, body
        return json.loads(body)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        status, answer = self.call("POST", path, body)
        assert status == 200, answer
        return json.loads(answer)

    def delete(self, path: str) -> Any:
        status, answer = self.call("DELETE", path)
        assert status == 200, answer
        return json.loads(answer)

    def fault(self, kind: str, **options: Any) -> Any:
        return self.post("/faults", {"kind": kind, **options})

    def verdict(self) -> dict[str, Any]:
        return self.get("/verdict")

    def rules_broken(self, *, after: int = 0) -> list[str]:
        return [violation["rule"] for violation in self.verdict()["violations"][after:]]

    def ledger(self, query: str = "") -> list[dict[str, Any]]:
        status, body = self.call("GET", f"/ledger{query}")
        assert status == 200, body
        return [json.loads(line) for line in body.splitlines()]

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """Return the first true value of the condition; fails after a while."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.02)
        pytest.fail(f"never happened: {what}; verdict: {self.verdict()}")

    def stop(self) -> tuple[int, dict[str, Any], str]:
        """End it by SIGTERM; returns exit code, verdict and standard error."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, json.loads(out.splitlines()[-1]), err


StartSim = Callable[..., Sim]


@contextlib.contextmanager
def _started() -> Iterator[StartSim]:
    started: list[subprocess.Popen[str]] = []

    def start(*options: str) -> Sim:
        command = [sys.executable, "-m", "gateway_sim.cli", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], START_S)
        line = process.stdout.readline() if readable else ""
        if not line:
            process.kill()
            pytest.fail(f"gw-sim did not start: {process.communicate(timeout=TIMEOUT_S)[1]}")
        return Sim(process, json.loads(line))

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=TIMEOUT_S)


@pytest.fixture
def start_sim() -> Iterator[StartSim]:
    """Start gw-sim with these options; every one started is killed at the end of the test."""
    with _started() as start:
        yield start


_FEW_GUILDS = ("--guilds", "6", "--large-guilds", "0", "--max-concurrency", "16", "--identify-window-s", "0")


@pytest.fixture
def sim(start_sim: StartSim) -> Sim:
    """A simulator with few guilds, many buckets and no identify window."""
    return start_sim(*_FEW_GUILDS)


@pytest.fixture(scope="module")
def start_module_sim() -> Iterator[StartSim]:
    """Start a gw-sim that lives as long as the module's tests."""
    with _started() as start:
        yield start


@pytest.fixture(scope="module")
def shared_sim(start_module_sim: StartSim) -> Sim:
    """As `sim`, for tests that leave no faults or traffic behind; its record goes on growing."""
    return start_module_sim(*_FEW_GUILDS)
