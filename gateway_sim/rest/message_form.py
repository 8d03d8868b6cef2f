"""Checks a message that a client wants to send, in Discord's own terms."""

from __future__ import annotations

from typing import Any

from gateway_sim.rest.errors import DiscordError, FieldPath, JsonObject, invalid_form
from gateway_sim.rest.form import Problem, items, not_an_object, required, text, whole_number

COMPONENTS_V2 = 1 << 15
_CONTENT_LENGTH = 2000
_MOST_EMBEDS = 10
_TITLE_LENGTH, _DESCRIPTION_LENGTH = 256, 4096
_MOST_FIELDS = 25
_ROWS = 5
_MOST_COMPONENTS = 40
_CUSTOM_ID_LENGTH = 100
_LABEL_LENGTH = 80
_ACTION_ROW = 1
_FILLING = ("content", "embeds", "components", "sticker_ids", "poll", "attachments", "message_reference")


def check_message(body: JsonObject, *, upload_count: int = 0, may_be_empty: bool = False) -> None:
    """DiscordError 400 if the body is no message: wrong types, too long, or empty."""
    problems: list[Problem] = []
    text(problems, (), body, "content", _CONTENT_LENGTH)
    whole_number(problems, (), body, "flags")
    for n, embed in enumerate(items(problems, (), body, "embeds", _MOST_EMBEDS)):
        _check_embed(problems, ("embeds", n), embed)
    flags = body.get("flags")
    most = _MOST_COMPONENTS if isinstance(flags, int) and flags & COMPONENTS_V2 else _ROWS
    for n, component in enumerate(items(problems, (), body, "components", most)):
        check_component(problems, ("components", n), component)
    _check_reference(problems, body.get("message_reference"))
    if problems:
        raise invalid_form(problems)
    if not may_be_empty and not upload_count and not any(body.get(key) for key in _FILLING):
        raise DiscordError(400, 50006, "Cannot send an empty message")


def _check_embed(problems: list[Problem], path: FieldPath, embed: Any) -> None:  # noqa: ANN401 - JSON of a client
    if not isinstance(embed, dict):
        problems.append(not_an_object(path))
        return
    text(problems, path, embed, "title", _TITLE_LENGTH)
    text(problems, path, embed, "description", _DESCRIPTION_LENGTH)
    items(problems, path, embed, "fields", _MOST_FIELDS)


def check_component(problems: list[Problem], path: FieldPath, component: Any) -> None:  # noqa: ANN401 - JSON of a client
    """Note the problems of a component and of those inside it."""
    if not isinstance(component, dict):
        problems.append(not_an_object(path))
        return
    if not isinstance(component.get("type"), int):
        problems.append(required((*path, "type")))
    whole_number(problems, path, component, "id")
    text(problems, path, component, "custom_id", _CUSTOM_ID_LENGTH)
    text(problems, path, component, "label", _LABEL_LENGTH)
    children = items(problems, path, component, "components")
    if component.get("type") == _ACTION_ROW and not children:
        problems.append(required((*path, "components")))
    for n, child in enumerate(children):
        check_component(problems, (*path, "components", n), child)


def _check_reference(problems: list[Problem], reference: Any) -> None:  # noqa: ANN401 - JSON of a client
    if reference is None:
        return
    if not isinstance(reference, dict) or not str(reference.get("message_id", "")).isdecimal():
        problems.append((("message_reference",), "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "Unknown message"))
