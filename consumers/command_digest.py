"""Tells sets of application commands apart: what a bot wants, and what Discord has. Pure."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import hikari

_MEANINGFUL_FALSE = frozenset({"dm_permission"})
_DIGITS = 32


def digest_of_wanted(scope: str, bodies: Sequence[Mapping[str, Any]]) -> str:
    """Of the bodies of a bulk overwrite; equal if they ask for the same, whatever their order.

    Ids are left out (a library names them once it has seen Discord's), and so is what means the same as its absence.
    """
    plain = [_without_defaults({key: value for key, value in body.items() if key != "id"}) for body in bodies]
    return _digest(scope, sorted(plain, key=lambda body: (body.get("type", 1), body.get("name", ""))))


def digest_of_made(scope: str, commands: Iterable[hikari.PartialCommand]) -> str:
    """Of the commands that Discord has: their ids and versions, which change with each change."""
    return _digest(scope, sorted((int(command.id), int(command.version)) for command in commands))


def _digest(scope: str, value: object) -> str:
    text = orjson.dumps([scope, value], option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS, default=str)
    return sha256(text).hexdigest()[:_DIGITS]


def _without_defaults(value: object) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(value, dict):
        plain = {str(key): _without_defaults(one) for key, one in value.items()}
        return {key: one for key, one in plain.items() if key in _MEANINGFUL_FALSE or not _is_default(one)}
    if isinstance(value, (list, tuple)):
        return [_without_defaults(one) for one in value]
    return value


def _is_default(value: object) -> bool:
    return value is None or value is False or value in ([], {})
