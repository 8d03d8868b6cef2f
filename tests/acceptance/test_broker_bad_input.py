"""A broker that is not there, not one, or does not let us in: one sentence and the right exit code."""

from __future__ import annotations

import os
import subprocess
from urllib.parse import urlsplit

import pytest

from ops.fleet import program

COMMANDS = [["gw-worker", "--shards", "0"], ["gw-ctl", "state"]]
PASSWORD = "wr0ng-passw0rd"


def run(command: list[str], amqp_url: str) -> tuple[int, str]:
    """Exit code and standard error; nothing else is said."""
    ours = {"AMQP_URL": amqp_url, "DISCORD_TOKEN": "a.b.c", "GW_CONNECT_TIMEOUT": "2", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [program(command[0]), *command[1:]], env=ours, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == ""
    assert PASSWORD not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_a_refused_login_is_one_sentence_and_exit_code_2(command: list[str], broker_url: str) -> None:
    parts = urlsplit(broker_url)

    code, said = run(command, f"amqp://nobody:{PASSWORD}@{parts.hostname}:{parts.port}/")

    assert (code, said.count("\n")) == (2, 1), said
    assert "refused the login of user 'nobody'" in said
    assert "AMQP_URL" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unreachable_broker_is_one_sentence_and_exit_code_1(command: list[str]) -> None:
    code, said = run(command, f"amqp://user:{PASSWORD}@127.0.0.1:9/")

    assert (code, said.count("\n")) == (1, 1), said
    assert "no RabbitMQ answers at 127.0.0.1:9" in said


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("url", ["rabbit", "http://host/", f"amqp://user:{PASSWORD}@/", "amqp://host:port/"])
def test_a_broken_url_is_one_sentence_and_exit_code_2(command: list[str], url: str) -> None:
    code, said = run(command, url)

    assert (code, said.count("\n")) == (2, 1), said
    assert "--amqp-url (AMQP_URL)" in said


@pytest.mark.parametrize("command", COMMANDS)
def test_a_host_name_that_cannot_be_one_is_one_sentence(command: list[str]) -> None:
    code, said = run(command, "amqp://rabbit..local/")

    assert (code, said.count("\n")) == (1, 1), said
    assert "AMQP_URL" in said
