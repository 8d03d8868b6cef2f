"""Checks an application command that a client registers, in Discord's own terms."""

from __future__ import annotations

import re
from typing import Any

from gateway_sim.rest.errors import FieldPath, JsonObject
from gateway_sim.rest.form import Problem, items, not_an_object, required

CHAT_INPUT = 1
MOST_COMMANDS = 100
_MOST_OPTIONS = 25
_MOST_CHOICES = 25
_NAME_LENGTH, _DESCRIPTION_LENGTH = 32, 100
_NAME = re.compile(r"[-_'\w]+")
_TYPES = range(1, 5)
_OPTION_TYPES = range(1, 12)
_SUBCOMMANDS = range(1, 3)


def check_command(problems: list[Problem], path: FieldPath, command: Any) -> None:  # noqa: ANN401 - JSON of a client
    """Note the problems of a command (https://discord.com/developers/docs/interactions/application-commands)."""
    if not isinstance(command, dict):
        problems.append(not_an_object(path))
        return
    kind = command.get("type") or CHAT_INPUT
    if kind not in _TYPES:
        problems.append(((*path, "type"), "BASE_TYPE_CHOICES", "Value must be one of {1, 2, 3, 4}."))
    elif kind != CHAT_INPUT:
        _check_length(problems, path, command, "name", _NAME_LENGTH)
    else:
        _check_slash_name(problems, path, command)
        _check_length(problems, path, command, "description", _DESCRIPTION_LENGTH)
        _check_options(problems, path, command)


def _check_length(problems: list[Problem], path: FieldPath, entity: JsonObject, key: str, most: int) -> None:
    value = entity.get(key)
    if value is None:
        problems.append(required((*path, key)))
    elif not isinstance(value, str) or not 1 <= len(value) <= most:
        problems.append(((*path, key), "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {most} in length."))


def _check_slash_name(problems: list[Problem], path: FieldPath, entity: JsonObject) -> None:
    before = len(problems)
    _check_length(problems, path, entity, "name", _NAME_LENGTH)
    if len(problems) > before:
        return
    name = entity["name"]
    if not _NAME.fullmatch(name) or name != name.lower():
        problems.append(((*path, "name"), "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid"))


def _check_options(problems: list[Problem], path: FieldPath, entity: JsonObject) -> None:
    before = len(problems)
    options = items(problems, path, entity, "options", _MOST_OPTIONS)
    for n, option in enumerate(options):
        _check_option(problems, (*path, "options", n), option)
    if len(problems) == before:
        _check_order(problems, (*path, "options"), options)


def _check_option(problems: list[Problem], path: FieldPath, option: Any) -> None:  # noqa: ANN401 - JSON of a client
    if not isinstance(option, dict):
        problems.append(not_an_object(path))
        return
    if option.get("type") not in _OPTION_TYPES:
        choices = ", ".join(map(str, _OPTION_TYPES))
        problems.append(((*path, "type"), "BASE_TYPE_CHOICES", f"Value must be one of {{{choices}}}."))
    _check_slash_name(problems, path, option)
    _check_length(problems, path, option, "description", _DESCRIPTION_LENGTH)
    items(problems, path, option, "choices", _MOST_CHOICES)
    if option.get("type") in _SUBCOMMANDS:
        _check_options(problems, path, option)


def _check_order(problems: list[Problem], path: FieldPath, options: list[JsonObject]) -> None:
    """Names once only, and required options before the others."""
    optional_seen = False
    names: set[str] = set()
    for n, option in enumerate(options):
        if option["name"] in names:
            sentence = "Option name is not unique"
            problems.append(((*path, n, "name"), "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", sentence))
        names.add(option["name"])
        if option["type"] in _SUBCOMMANDS:
            continue
        if option.get("required") and optional_seen:
            sentence = "Required options must be placed before non-required options"
            problems.append(((*path, n), "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", sentence))
        optional_seen = optional_seen or not option.get("required")
