"""The checks that every form of Discord's shares; each notes what it finds in `problems`."""

from __future__ import annotations

from typing import Any

from gateway_sim.rest.errors import FieldPath, JsonObject

Problem = tuple[FieldPath, str, str]


def items(problems: list[Problem], path: FieldPath, entity: JsonObject, key: str, most: int | None = None) -> list[Any]:
    """The list at `key` (empty if absent), of at most `most` items."""
    value = entity.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        problems.append(((*path, key), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType"))
        return []
    if most is not None and len(value) > most:
        problems.append(too_long((*path, key), most))
    return value


def text(problems: list[Problem], path: FieldPath, entity: JsonObject, key: str, most: int) -> None:
    """The value at `key`, if any, is a text (or a number, read as one) of at most `most` characters."""
    value = entity.get(key)
    if isinstance(value, (list, dict)):
        problems.append(((*path, key), "STRING_TYPE_CONVERT", f'Could not interpret "{value}" as string.'))
    elif value is not None and len(str(value)) > most:
        problems.append(too_long((*path, key), most))


def whole_number(problems: list[Problem], path: FieldPath, entity: JsonObject, key: str) -> None:
    """The value at `key`, if any, is a whole number of 0 or more."""
    value = entity.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        problems.append(((*path, key), "NUMBER_TYPE_COERCE", f'Value "{value}" is not int.'))


def not_an_object(path: FieldPath) -> Problem:
    """What stands there is no object."""
    return (path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")


def required(path: FieldPath) -> Problem:
    """Nothing stands there."""
    return (path, "BASE_TYPE_REQUIRED", "This field is required")


def too_long(path: FieldPath, most: int) -> Problem:
    """More than `most` characters or items stand there."""
    return (path, "BASE_TYPE_BAD_LENGTH", f"Must be {most} or fewer in length.")
