"""Checks a message that a client wants to send, in Discord's own terms."""

from __future__ import annotations

from typing import Any

from gateway_sim.rest.errors import DiscordError, FieldPath, JsonObject, invalid_form

Problem = tuple[FieldPath, str, str]

COMPONENTS_V2 = 1 << 15
_CONTENT_LENGTH = 2000
_MOST_EMBEDS = 10
_EMBED_LENGTHS = {"title": 256, "description": 4096}
_MOST_FIELDS = 25
_ROWS = 5
_MOST_COMPONENTS = 40
_CUSTOM_ID_LENGTH = 100
_LABEL_LENGTH = 80
_FILLING = ("content", "embeds", "components", "sticker_ids", "poll", "attachments", "message_reference")


def check_message(body: JsonObject, *, upload_count: int = 0, may_be_empty: bool = False) -> None:
    """DiscordError 400 if the body is no message: wrong types, too long, or empty."""
    problems = [*_content(body), *_embeds(body), *_components(body), *_flags(body)]
    if problems:
        raise invalid_form(problems)
    if not may_be_empty and not upload_count and not any(body.get(key) for key in _FILLING):
        raise DiscordError(400, 50006, "Cannot send an empty message")


def _too_long(path: FieldPath, most: int) -> Problem:
    return (path, "BASE_TYPE_BAD_LENGTH", f"Must be {most} or fewer in length.")


def _content(body: JsonObject) -> list[Problem]:
    content = body.get("content")
    if content is None:
        return []
    if isinstance(content, (list, dict)):
        return [(("content",), "STRING_TYPE_CONVERT", f'Could not interpret "{content}" as string.')]
    return [_too_long(("content",), _CONTENT_LENGTH)] if len(str(content)) > _CONTENT_LENGTH else []


def _flags(body: JsonObject) -> list[Problem]:
    flags = body.get("flags")
    if flags is None or (isinstance(flags, int) and not isinstance(flags, bool)):
        return []
    return [(("flags",), "NUMBER_TYPE_COERCE", f'Value "{flags}" is not int.')]


def _embeds(body: JsonObject) -> list[Problem]:
    embeds = body.get("embeds")
    if embeds is None:
        return []
    if not isinstance(embeds, list):
        return [(("embeds",), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")]
    problems = [_too_long(("embeds",), _MOST_EMBEDS)] if len(embeds) > _MOST_EMBEDS else []
    for n, embed in enumerate(embeds):
        problems += _embed(("embeds", n), embed)
    return problems


def _embed(path: FieldPath, embed: Any) -> list[Problem]:  # noqa: ANN401 - JSON of a client
    if not isinstance(embed, dict):
        return [(path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")]
    problems = [
        _too_long((*path, key), most) for key, most in _EMBED_LENGTHS.items() if len(str(embed.get(key) or "")) > most
    ]
    if len(embed.get("fields") or ()) > _MOST_FIELDS:
        problems.append(_too_long((*path, "fields"), _MOST_FIELDS))
    return problems


def _components(body: JsonObject) -> list[Problem]:
    components = body.get("components")
    if components is None:
        return []
    if not isinstance(components, list):
        return [(("components",), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")]
    flags = body.get("flags")
    most = _MOST_COMPONENTS if isinstance(flags, int) and flags & COMPONENTS_V2 else _ROWS
    problems = [_too_long(("components",), most)] if len(components) > most else []
    for n, component in enumerate(components):
        problems += check_component(("components", n), component)
    return problems


def check_component(path: FieldPath, component: Any) -> list[Problem]:  # noqa: ANN401 - JSON of a client
    """The problems of a component and those inside it."""
    if not isinstance(component, dict) or not isinstance(component.get("type"), int):
        return [((*path, "type"), "BASE_TYPE_REQUIRED", "This field is required")]
    problems: list[Problem] = []
    for key, most in (("custom_id", _CUSTOM_ID_LENGTH), ("label", _LABEL_LENGTH)):
        if len(str(component.get(key) or "")) > most:
            problems.append(_too_long((*path, key), most))
    if component["type"] == 1 and not component.get("components"):
        problems.append(((*path, "components"), "BASE_TYPE_REQUIRED", "This field is required"))
    for n, child in enumerate(component.get("components") or ()):
        problems += check_component((*path, "components", n), child)
    return problems
