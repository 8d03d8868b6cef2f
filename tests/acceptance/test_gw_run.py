"""gw-run: everything on one machine, as a user starts it."""

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

from ops.broker_folder import url_of_running

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
GW_RUN = Path(sys.executable).parent / "gw-run"
SMALLEST_BOT = ["--entrypoint", "smallest_bot:setup", "--entrypoint-dir", str(ROOT / "examples")]


def clean_environment(**changes: str) -> dict[str, str]:
    ours = ("AMQP_URL", "DISCORD_TOKEN")
    kept = {key: value for key, value in os.environ.items() if key not in ours and not key.startswith("GW_")}
    return kept | changes


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [str(GW_RUN), "--sim", *SMALLEST_BOT, "--process-count", "3", "--worker-count", "2", "--shard-count", "3"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        if process.poll() is None:
            process.kill()


def lines_until(process: subprocess.Popen[str], text: str, *, count: int = 1) -> list[str]:
    """Lines until the one that has `text` for the `count`th time; the test's time-out is the bound."""
    assert process.stdout is not None
    found = []
    for line in process.stdout:
        found.append(line)
        count -= text in line
        if not count:
            return found
    raise AssertionError("".join(found))


def descendants(pid: int) -> set[int]:
    try:
        children = {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except OSError:  # it has ended
        return set()
    return children.union(*(descendants(child) for child in children)) if children else set()


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:  # it has ended
        return ""


def test_one_ctrl_c_drains_all_and_leaves_nothing_behind(running: subprocess.Popen[str], tmp_path: Path) -> None:
    lines_until(running, "connected", count=3)
    state = in_another_shell("gw-ctl state --json", tmp_path)  # finds the private broker of its folder
    assert [shard["shard"] for shard in json.loads(state.stdout)["shards"]] == [0, 1, 2], state.stderr
    elsewhere = in_another_shell(f"gw-ctl state --data-dir {tmp_path / '.run'}", tmp_path.parent)
    assert elsewhere.returncode == 0, elsewhere.stderr
    before = descendants(running.pid)
    running.send_signal(signal.SIGINT)
    rest = running.communicate(timeout=60)[0]

    assert running.returncode == 0, rest
    assert len(before) >= 8  # broker, simulator, coordinator, 2 workers, 3 consumers
    deadline = time.monotonic() + 10
    while alive := {pid for pid in before if Path(f"/proc/{pid}").exists()}:
        assert time.monotonic() < deadline, alive
        time.sleep(0.1)
    assert "Traceback" not in rest
    assert url_of_running(tmp_path / ".run" / "broker") is None


@pytest.mark.long
def test_a_killed_child_is_started_again_and_the_others_stay(running: subprocess.Popen[str]) -> None:
    lines_until(running, "connected", count=3)
    consumers = [pid for pid in descendants(running.pid) if "gw-consume" in command_line(pid)]
    os.kill(consumers[0], signal.SIGKILL)

    lines_until(running, "started again in")
    lines_until(running, "consuming")
    assert all(Path(f"/proc/{pid}").exists() for pid in consumers[1:])
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 0


@pytest.mark.long
def test_a_killed_private_broker_is_started_again_and_the_shards_stay(running: subprocess.Popen[str]) -> None:
    lines_until(running, "connected", count=3)
    (broker,) = [pid for pid in descendants(running.pid) if "beam" in command_line(pid)[:200]]
    os.kill(broker, signal.SIGKILL)

    said = lines_until(running, "publishing connection is back", count=2)
    running.send_signal(signal.SIGTERM)
    rest = running.communicate(timeout=60)[0]

    assert running.returncode == 0, rest
    assert any("the private RabbitMQ node ended" in line for line in said)
    assert rest.count("handed over") == 3, rest


def test_what_gw_run_says_to_try_in_another_shell_is_answered_by_the_bot(
    broker_url: str, namespace: str, tmp_path: Path
) -> None:
    bot = ["--entrypoint", "arc_bot:setup", "--entrypoint-dir", str(ROOT / "examples"), "--process-count", "1"]
    with subprocess.Popen(
        [str(GW_RUN), "--sim", "--sim-rate", "0", "--shard-count", "1", *bot],
        cwd=tmp_path,
        env=clean_environment(AMQP_URL=broker_url, GW_NAMESPACE=namespace),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        said = lines_until(process, "try in another shell: ", count=2)
        slash, message = [line.partition("try in another shell: ")[2].strip() for line in said if "try in" in line]
        elsewhere = in_another_shell(f"{slash} --wait 30", tmp_path.parent)
        here = in_another_shell(f"{slash.partition(' --control')[0]} --wait 30", tmp_path)
        unheard = in_another_shell(f"{message} --wait 0.1", tmp_path)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[0]

    assert process.returncode == 0, rest
    for done in (elsewhere, here):
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[1])["answer"]["data"]["content"] == "Hello world!"
    assert "no answer of the bot" in unheard.stderr  # it has no listener for messages
    assert in_another_shell("gw-sim send message ping", tmp_path).returncode == 2


def in_another_shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(GW_RUN.parent), os.environ["PATH"]])
    environment = clean_environment(PATH=path)
    return subprocess.run(
        ["sh", "-c", command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=90, check=False
    )


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(GW_RUN), *arguments],
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_problems_of_the_configuration_are_reported_together_before_anything_starts() -> None:
    done = run("--process-count", "-1", "--log-level", "loud", "--entrypoint", "nocolon")

    assert done.returncode == 2
    assert done.stdout == ""
    problems = done.stderr.splitlines()
    assert len(problems) == 3
    assert all(
        any(flag in problem for problem in problems) for flag in ("--process-count", "--log-level", "--entrypoint")
    )


def test_a_missing_token_is_one_sentence() -> None:
    done = run(*SMALLEST_BOT)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "DISCORD_TOKEN" in done.stderr


def test_an_entrypoint_that_is_not_there_ends_everything_with_one_sentence(broker_url: str, namespace: str) -> None:
    done = run("--sim", "--entrypoint", "no_such_bot:setup", AMQP_URL=broker_url, GW_NAMESPACE=namespace)

    assert done.returncode == 2
    assert "no_such_bot" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_bot_token_and_the_broker_password_are_in_no_process_list(tmp_path: Path) -> None:
    secret = "MTk4NjIyNDgzNDcxOTI1MjQ4.Cl2FMQ.secret"
    command = [str(GW_RUN), *SMALLEST_BOT, "--token", secret, "--rest-url", "http://127.0.0.1:9/api"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        lines = lines_until(process, "starting a private RabbitMQ node")
        time.sleep(1)
        lists = [command_line(pid) for pid in {process.pid, *descendants(process.pid)}]
        process.send_signal(signal.SIGTERM)
        output = "".join(lines) + process.communicate(timeout=60)[0]

    assert not any(secret in line for line in lists)
    assert secret not in output
