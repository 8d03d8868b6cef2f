"""Routes that answer interactions: the callback, then follow-ups over the interaction's webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway_sim.interaction_book import Outcome
from gateway_sim.rest import message_store
from gateway_sim.rest.call import NO_CONTENT, Call, JsonObject, Reply
from gateway_sim.rest.errors import DiscordError, invalid_form, unknown
from gateway_sim.rest.form import Problem, items, required
from gateway_sim.rest.journal import InteractionAnswer
from gateway_sim.rest.message_form import check_component, check_message
from gateway_sim.rest.router import Route

if TYPE_CHECKING:
    from gateway_sim.interaction_book import OpenInteraction

_COMMAND, _COMPONENT, _AUTOCOMPLETE, _MODAL_SUBMIT = 2, 3, 4, 5
_MESSAGE, _DEFERRED_MESSAGE, _DEFERRED_UPDATE, _UPDATE, _CHOICES, _MODAL = 4, 5, 6, 7, 8, 9
_ALLOWED = {
    _COMMAND: (_MESSAGE, _DEFERRED_MESSAGE, _MODAL),
    _COMPONENT: (_MESSAGE, _DEFERRED_MESSAGE, _DEFERRED_UPDATE, _UPDATE, _MODAL),
    _AUTOCOMPLETE: (_CHOICES,),
    _MODAL_SUBMIT: (_MESSAGE, _DEFERRED_MESSAGE, _DEFERRED_UPDATE, _UPDATE),
}
_MOST_CHOICES = 25
_MOST_MODAL_ROWS = 5


def _callback(call: Call) -> Reply:
    """https://discord.com/developers/docs/interactions/receiving-and-responding#create-interaction-response"""
    body = call.json_object()
    kind, token, interaction_id = body.get("type"), call.params["token"], str(call.id("interaction_id"))
    now = call.world.clock()
    interaction = call.world.interactions.find(token, now)
    if interaction and interaction.answer_type is None and not call.world.interactions.is_late(interaction, now):
        _check_answer(interaction, body, len(call.uploads))
    kind = kind if isinstance(kind, int) else 0
    outcome = call.world.interactions.answer(interaction_id, token, kind, now)
    call.backend.journal.record_answer(InteractionAnswer(interaction_id, kind, outcome.value, now))
    if outcome is Outcome.ALREADY_ANSWERED:
        raise DiscordError(400, 40060, "Interaction has already been acknowledged.")
    if outcome is not Outcome.ACCEPTED or interaction is None:
        raise DiscordError(404, 10062, "Unknown interaction")
    message = _first_message(call, interaction, kind, body.get("data") or {})
    return Reply(200, _callback_result(interaction, kind, message)) if call.flag("with_response") else NO_CONTENT


def _check_answer(interaction: OpenInteraction, body: JsonObject, upload_count: int) -> None:
    kind, data = body.get("type"), body.get("data")
    if kind not in _ALLOWED[interaction.type]:
        choices = ", ".join(map(str, _ALLOWED[interaction.type]))
        raise invalid_form([(("type",), "BASE_TYPE_CHOICES", f"Value must be one of {{{choices}}}.")])
    if data is not None and not isinstance(data, dict):
        raise invalid_form([(("data",), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")])
    if kind in (_MESSAGE, _DEFERRED_MESSAGE, _UPDATE):
        check_message(data or {}, upload_count=upload_count, may_be_empty=kind != _MESSAGE)
    elif kind == _CHOICES:
        _check_choices(data or {})
    elif kind == _MODAL:
        _check_modal(data or {})


def _check_choices(data: JsonObject) -> None:
    problems: list[Problem] = [] if "choices" in data else [required(("data", "choices"))]
    items(problems, ("data",), data, "choices", _MOST_CHOICES)
    if problems:
        raise invalid_form(problems)


def _check_modal(data: JsonObject) -> None:
    needed = ("custom_id", "title", "components")
    problems: list[Problem] = [required(("data", key)) for key in needed if not data.get(key)]
    for n, component in enumerate(items(problems, ("data",), data, "components", _MOST_MODAL_ROWS)):
        check_component(problems, ("data", "components", n), component)
    if problems:
        raise invalid_form(problems)


def _first_message(call: Call, interaction: OpenInteraction, kind: int, data: JsonObject) -> JsonObject | None:
    """Make or change the message that the answer leads to, if any."""
    if kind in (_MESSAGE, _DEFERRED_MESSAGE):
        return _new_message(call, interaction, data, deferred=kind == _DEFERRED_MESSAGE)
    if kind in (_DEFERRED_UPDATE, _UPDATE):
        interaction.answer_message_id = interaction.message_id
        shown = call.world.messages.get(interaction.message_id or "")
        if shown is not None and kind == _UPDATE:
            return message_store.edit(call.backend, shown, data, call.uploads)
        return shown
    return None


def _new_message(call: Call, interaction: OpenInteraction, data: JsonObject, *, deferred: bool) -> JsonObject:
    """The first message of an answer."""
    if deferred:
        data = {"flags": (data.get("flags") or 0) | message_store.LOADING}
    message = _send(call, interaction, data, type=20 if interaction.type == _COMMAND else 19)
    interaction.answer_message_id = message["id"]
    return message


def _send(call: Call, interaction: OpenInteraction, data: JsonObject, **extra: object) -> JsonObject:
    application = str(call.world.application_id)
    return message_store.create(
        call.backend,
        interaction.channel_id,
        data,
        call.uploads,
        webhook_id=application,
        application_id=application,
        **extra,
    )


def _callback_result(interaction: OpenInteraction, kind: int, message: JsonObject | None) -> JsonObject:
    facts: JsonObject = {"id": interaction.id, "type": interaction.type}
    resource: JsonObject = {"type": kind}
    if message is not None:
        flags = message["flags"]
        facts["response_message_id"] = message["id"]
        facts["response_message_loading"] = bool(flags & message_store.LOADING)
        facts["response_message_ephemeral"] = bool(flags & message_store.EPHEMERAL)
        resource["message"] = message
    return {"interaction": facts, "resource": resource}


# --- the interaction's webhook


def _answered(call: Call) -> OpenInteraction:
    """The interaction of the path, which must have been answered before."""
    found = call.world.interactions.find(call.params["token"], call.world.clock())
    if found is None or call.id("webhook_id") != call.world.application_id or found.answer_type is None:
        raise unknown("Webhook", 10015)
    return found


def _followup(call: Call) -> Reply:
    interaction, body = _answered(call), call.json_object()
    check_message(body, upload_count=len(call.uploads))
    message = _send(call, interaction, body)
    interaction.followup_ids += (message["id"],)
    return Reply(200, message)


def _followup_message(call: Call) -> JsonObject:
    interaction, name = _answered(call), call.params["message_id"]
    message_id = interaction.answer_message_id if name == "@original" else str(call.id("message_id"))
    if message_id not in (interaction.answer_message_id, *interaction.followup_ids):
        raise unknown("Message", 10008)
    found = call.world.messages.get(message_id or "")
    if found is None:
        raise unknown("Message", 10008)
    return found


def _get_message(call: Call) -> Reply:
    return Reply(200, _followup_message(call))


def _edit_message(call: Call) -> Reply:
    message, body = _followup_message(call), call.json_object()
    check_message(body, upload_count=len(call.uploads), may_be_empty=True)
    return Reply(200, message_store.edit(call.backend, message, body, call.uploads))


def _delete_message(call: Call) -> Reply:
    message = _followup_message(call)
    message_store.delete(call.backend, int(message["channel_id"]), int(message["id"]))
    return NO_CONTENT


_CALLBACK = "/interactions/{interaction_id}/{token}/callback"
_WEBHOOK = "/webhooks/{webhook_id}/{token}"
ROUTES = (
    # Discord sends no rate-limit headers here; hikari warns if there are any.
    Route("POST", _CALLBACK, _callback, auth=False, limited=False),
    Route("POST", _WEBHOOK, _followup, auth=False),
    Route("GET", f"{_WEBHOOK}/messages/{{message_id}}", _get_message, auth=False),
    Route("PATCH", f"{_WEBHOOK}/messages/{{message_id}}", _edit_message, auth=False),
    Route("DELETE", f"{_WEBHOOK}/messages/{{message_id}}", _delete_message, auth=False),
)
