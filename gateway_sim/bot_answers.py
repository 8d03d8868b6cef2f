"""What a bot did about an interaction or a message, found among its REST requests: for who sent it from a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

JsonObject = dict[str, Any]

_DEFERRED = 5
_REFUSED = 400


def to_interaction(requests: Iterable[JsonObject], sent: Mapping[str, Any]) -> Iterator[JsonObject]:
    """`{"answer"}` (the callback), then `{"edit"}` or `{"follow_up"}`; with `status` if Discord refused it."""
    callback = f"/interactions/{sent['id']}/{sent['token']}/callback"
    for request in requests:
        path = request["path"].partition("?")[0]
        if path.endswith(callback):
            yield _found("answer", request)
        elif f"/{sent['token']}" in path and request["method"] in ("POST", "PATCH"):
            yield _found("edit" if request["method"] == "PATCH" else "follow_up", request)


def to_message(requests: Iterable[JsonObject], sent: Mapping[str, Any]) -> Iterator[JsonObject]:
    """`{"answer"}` for each message that the bot sent into the channel since then."""
    for request in requests:
        if request["method"] == "POST" and request["path"].endswith(f"/channels/{sent['channel_id']}/messages"):
            yield _found("answer", request)


def is_complete(found: list[JsonObject]) -> bool:
    """Whether nothing more is to be waited for: a deferred answer is completed by another request."""
    good = [one for one in found if "status" not in one]
    answers = [one["answer"] for one in good if "answer" in one]
    is_deferred = any(isinstance(answer, dict) and answer.get("type") == _DEFERRED for answer in answers)
    return bool(answers) and (not is_deferred or len(good) > len(answers))


def _found(name: str, request: JsonObject) -> JsonObject:
    refused = {"status": request["status"]} if request["status"] >= _REFUSED else {}
    return {name: request["body"], **refused}
