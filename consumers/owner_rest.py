"""hikari's REST client that tells what has components: hikari's public methods that send, and nothing that reads."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

import hikari

from consumers.rest import GroupRestClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from hikari import impl

    from consumers.claims import Claims

_SENDERS = (
    "create_message",
    "edit_message",
    "create_forum_post",
    "execute_webhook",
    "edit_webhook_message",
    "create_interaction_response",
    "edit_interaction_response",
    "create_modal_response",
)


class OwnerRestClient(GroupRestClient):
    """As hikari's. `claims` is set while the bot runs and components go to who sent them."""

    __slots__ = ("claims",)

    def __init__(self, *, entity_factory: impl.EntityFactoryImpl, **options: Any) -> None:  # noqa: ANN401 - hikari's
        super().__init__(entity_factory=entity_factory, **options)
        self.claims: Claims | None = None


def _telling(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @functools.wraps(method)  # the signature is hikari's
    async def send(self: OwnerRestClient, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - hikari's
        if self.claims is None:
            return await method(self, *args, **options)
        if name in _BEFORE and (name in _ALWAYS_OWNED or _has_components(options)):  # most answers have none
            given = signature.bind(self, *args, **options).arguments  # libraries name what others give by place
            _BEFORE[name](self.claims, **{key: value for key, value in given.items() if key != "self"})
        result = await method(self, *args, **options)
        message_id = _message_id(result)
        if message_id is not None and _has_components(options):
            self.claims.sent(message_id)
        return result

    return send


def _before_a_response(
    claims: Claims,
    *,
    interaction: hikari.SnowflakeishOr[hikari.PartialInteraction],
    response_type: int,
    **_: Any,  # noqa: ANN401 - hikari's
) -> None:
    claims.answering(interaction, response_type)


def _before_a_modal(
    claims: Claims,
    *,
    interaction: hikari.SnowflakeishOr[hikari.PartialInteraction],
    custom_id: str,
    **_: Any,  # noqa: ANN401 - hikari's
) -> None:
    claims.opening_modal(interaction, custom_id)


_BEFORE: dict[str, Callable[..., None]] = {
    "create_interaction_response": _before_a_response,
    "create_modal_response": _before_a_modal,
}
_ALWAYS_OWNED = frozenset({"create_modal_response"})


def _has_components(options: dict[str, Any]) -> bool:
    """An edit that leaves the components as they are leaves them to whom they belong."""
    return bool(options.get("component") or options.get("components"))


def _message_id(result: object) -> int | None:
    if isinstance(result, hikari.Message | hikari.GuildThreadChannel):  # a post's first message has its thread's id
        return int(result.id)
    message = getattr(getattr(result, "resource", None), "message", None)  # of an interaction's response
    return int(message.id) if message else None


for _name in _SENDERS:
    setattr(OwnerRestClient, _name, _telling(_name, getattr(GroupRestClient, _name)))
