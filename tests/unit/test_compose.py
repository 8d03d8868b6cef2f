"""docker-compose.yml without an engine: every command, option and variable in it exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HELP_TIMEOUT_S = 30
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "hikari-relay"}
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

each_service_of_ours = pytest.mark.parametrize("service", OURS.values(), ids=OURS.keys())


def words_of_help(command: str) -> set[str]:
    """The words of `COMMAND --help`: option names and environment variables among them."""
    finished = subprocess.run(
        [Path(sys.executable).with_name(command), "--help"],
        env={"PATH": os.environ["PATH"], "COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb"},
        capture_output=True,
        text=True,
        timeout=HELP_TIMEOUT_S,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return set(re.findall(r"[\w-]+", finished.stdout))


def test_the_fleet_is_a_broker_a_coordinator_workers_and_consumers() -> None:
    assert set(COMPOSE["services"]) == {"rabbitmq", "coordinator", "worker", "consumer"}
    assert set(OURS) == {"coordinator", "worker", "consumer"}


@each_service_of_ours
def test_every_command_is_an_entry_point(service: dict[str, Any]) -> None:
    assert service["command"][0] in SCRIPTS


@each_service_of_ours
def test_every_option_and_variable_is_in_the_commands_help(service: dict[str, Any]) -> None:
    command, *arguments = service["command"]
    options = {argument for argument in arguments if argument.startswith("-")}
    assert options | set(service["environment"]) <= words_of_help(command)


@each_service_of_ours
def test_every_service_of_ours_can_be_scaled(service: dict[str, Any]) -> None:
    assert not {"container_name", "ports", "hostname"} & set(service)


@pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"].keys())
def test_every_service_restarts_has_time_to_stop_and_listens_on_loopback_only(service: dict[str, Any]) -> None:
    assert service["restart"] == "unless-stopped"
    assert "stop_grace_period" in service
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_no_secret_is_in_the_file_and_each_missing_one_is_asked_for() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", text)) == {"DISCORD_TOKEN", "RABBITMQ_PASSWORD"}
    assert not re.findall(r"\$\{(?:\w*TOKEN|\w*PASSWORD)(?!:\?)\W", text)


def test_every_variable_that_compose_reads_is_in_the_example_of_env() -> None:
    read = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    told = set(re.findall(r"^#?(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert read == told


def test_the_image_is_built_from_files_that_its_context_has() -> None:
    context = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*packages["packages"], "examples", "pyproject.toml", "requirements-runtime.lock"} <= context
    assert all((ROOT / name).exists() for name in context)
