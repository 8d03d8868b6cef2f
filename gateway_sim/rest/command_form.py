"""Checks an application command that a client registers, in Discord's own terms."""

from __future__ import annotations

import re
from typing import Any

from gateway_sim.rest.errors import FieldPath

Problem = tuple[FieldPath, str, str]
JsonObject = dict[str, Any]

CHAT_INPUT, ENTRY_POINT = 1, 4
MOST_COMMANDS = 100
_MOST_OPTIONS = 25
_MOST_CHOICES = 25
_NAME = re.compile(r"[-_'\w]{1,32}")
_TYPES = range(1, 5)
_OPTION_TYPES = range(1, 12)
_SUBCOMMAND, _GROUP = 1, 2


def command_problems(path: FieldPath, command: Any) -> list[Problem]:  # noqa: ANN401 - JSON of a client
    """The problems of a whole command (https://discord.com/developers/docs/interactions/application-commands)."""
    if not isinstance(command, dict):
        return [(path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")]
    kind = command.get("type") or CHAT_INPUT
    if kind not in _TYPES:
        return [((*path, "type"), "BASE_TYPE_CHOICES", "Value must be one of {1, 2, 3, 4}.")]
    if kind != CHAT_INPUT:
        return [*_length(path, command, "name", 32)]
    return [*_slash_name(path, command), *_length(path, command, "description", 100), *_options(path, command)]


def _length(path: FieldPath, entity: JsonObject, key: str, most: int) -> list[Problem]:
    value = entity.get(key)
    if value is None:
        return [((*path, key), "BASE_TYPE_REQUIRED", "This field is required")]
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        return [((*path, key), "BASE_TYPE_BAD_LENGTH", f"Must be between 1 and {most} in length.")]
    return []


def _slash_name(path: FieldPath, entity: JsonObject) -> list[Problem]:
    if problems := _length(path, entity, "name", 32):
        return problems
    name = entity["name"]
    if not _NAME.fullmatch(name) or name != name.lower():
        return [((*path, "name"), "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")]
    return []


def _options(path: FieldPath, entity: JsonObject) -> list[Problem]:
    options = entity.get("options") or []
    path = (*path, "options")
    if not isinstance(options, list):
        return [(path, "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")]
    problems: list[Problem] = []
    if len(options) > _MOST_OPTIONS:
        problems.append((path, "BASE_TYPE_MAX_LENGTH", f"Must be {_MOST_OPTIONS} or fewer in length."))
    for n, option in enumerate(options):
        problems += _option((*path, n), option)
    return problems or _order(path, options)


def _option(path: FieldPath, option: Any) -> list[Problem]:  # noqa: ANN401 - JSON of a client
    if not isinstance(option, dict):
        return [(path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")]
    if option.get("type") not in _OPTION_TYPES:
        return [((*path, "type"), "BASE_TYPE_CHOICES", "Value must be one of {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}.")]
    problems = [*_slash_name(path, option), *_length(path, option, "description", 100)]
    if len(option.get("choices") or ()) > _MOST_CHOICES:
        problems.append(((*path, "choices"), "BASE_TYPE_MAX_LENGTH", f"Must be {_MOST_CHOICES} or fewer in length."))
    if option["type"] in (_SUBCOMMAND, _GROUP):
        problems += _options(path, option)
    return problems


def _order(path: FieldPath, options: list[JsonObject]) -> list[Problem]:
    """Names once only, and required options before the others."""
    optional_seen = False
    names: set[str] = set()
    for n, option in enumerate(options):
        if option["name"] in names:
            return [
                ((*path, n, "name"), "APPLICATION_COMMAND_OPTIONS_NAME_ALREADY_EXISTS", "Option name is not unique")
            ]
        names.add(option["name"])
        if option["type"] in (_SUBCOMMAND, _GROUP):
            continue
        if option.get("required") and optional_seen:
            sentence = "Required options must be placed before non-required options"
            return [((*path, n), "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", sentence)]
        optional_seen = optional_seen or not option.get("required")
    return []
