"""Errors in the form in which Discord writes them."""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]

FieldPath = tuple[str | int, ...]


class DiscordError(Exception):
    """An error answer: HTTP `status`, Discord's JSON `code` and `message`, field `errors` for code 50035.

    Codes: https://discord.com/developers/docs/topics/opcodes-and-status-codes#json-json-error-codes
    """

    def __init__(self, status: int, code: int, message: str, errors: JsonObject | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.body: JsonObject = {"message": message, "code": code}
        if errors:
            self.body["errors"] = errors


def http_error(status: int, reason: str) -> DiscordError:
    """An error without a code of its own, such as `404: Not Found`."""
    return DiscordError(status, 0, f"{status}: {reason}")


def unknown(thing: str, code: int) -> DiscordError:
    """404 for a thing that is not there."""
    return DiscordError(404, code, f"Unknown {thing}")


def invalid_form(problems: list[tuple[FieldPath, str, str]]) -> DiscordError:
    """400 Invalid Form Body with every problem: (path of the field, code, message)."""
    tree: JsonObject = {}
    for path, code, message in problems:
        node = tree
        for key in path:
            node = node.setdefault(str(key), {})
        node.setdefault("_errors", []).append({"code": code, "message": message})
    return DiscordError(400, 50035, "Invalid Form Body", tree)
