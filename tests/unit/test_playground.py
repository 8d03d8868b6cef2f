"""What gw-run --sim suggests to type: commands that work as they stand."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from ops.playground import lines_for

MESSAGE = "gw-sim send message ping"


def slash(name: str, *options: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "type": 1, "options": list(options)}


def option(name: str, kind: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def test_a_bot_without_commands_gets_a_message() -> None:
    assert list(lines_for([])) == [MESSAGE]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (slash("ping"), {"name": "ping"}),
        (slash("it's", option("maybe", 6)), {"name": "it's"}),
        (slash("greet", option("name", 3, required=True)), {"name": "greet", "options": {"name": "Ada"}}),
    ],
)
def test_the_first_slash_command_that_can_be_called_gets_its_required_options(
    command: dict[str, Any], expected: dict[str, Any]
) -> None:
    group = slash("tools", option("echo", 1))
    of_a_user = slash("whois", option("user", 6, required=True))
    called, message = lines_for([group, {"name": "Inspect", "type": 2}, of_a_user, command, slash("later")])
    assert message == MESSAGE
    *words, options = shlex.split(called)
    assert words == ["gw-sim", "send", "interaction", "slash", "--options"]
    assert json.loads(options) == expected
