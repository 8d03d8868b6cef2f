"""Routes of application commands: registered globally or for one guild, with ids that last."""

from __future__ import annotations

from gateway_sim.rest.call import NO_CONTENT, Call, JsonObject, Reply
from gateway_sim.rest.command_form import CHAT_INPUT, MOST_COMMANDS, check_command
from gateway_sim.rest.errors import DiscordError, invalid_form, unknown
from gateway_sim.rest.form import Problem
from gateway_sim.rest.router import Route

_LOCALIZATIONS = ("name_localizations", "description_localizations")
_FIELDS: JsonObject = {
    "description": "",
    "default_member_permissions": None,
    "dm_permission": True,
    "contexts": None,
    "integration_types": [0],
    "nsfw": False,
    "name_localizations": None,
    "description_localizations": None,
    "options": [],
}


def _scope(call: Call) -> dict[str, JsonObject]:
    """The commands of the path's guild, or the global ones."""
    if call.id("application_id") != call.world.application_id:
        raise DiscordError(403, 20012, "You are not authorized to perform this action on this application")
    guild_id = call.id("guild_id") if "guild_id" in call.params else 0
    if guild_id and not call.world.has_guild(guild_id):
        raise DiscordError(403, 50001, "Missing Access")
    return call.world.commands.setdefault(guild_id, {})


def _one(call: Call) -> JsonObject:
    found = _scope(call).get(str(call.id("command_id")))
    if found is None:
        raise unknown("application command", 10063)
    return found


def _all(call: Call) -> Reply:
    shown = list(_scope(call).values())
    if not call.flag("with_localizations"):
        shown = [{key: value for key, value in command.items() if key not in _LOCALIZATIONS} for command in shown]
    return Reply(200, shown)


def _get(call: Call) -> Reply:
    return Reply(200, _one(call))


def _create(call: Call) -> Reply:
    scope, body = _scope(call), call.json_object()
    _check(body)
    same = _same(scope, body)
    if same is None and len(scope) >= MOST_COMMANDS:
        raise DiscordError(400, 30032, "Maximum number of application commands reached (100)")
    command = _stored(call, body, same)
    scope[command["id"]] = command
    return Reply(201 if same is None else 200, command)


def _edit(call: Call) -> Reply:
    old = _one(call)
    body = {"type": old["type"], "name": old["name"], "description": old["description"]} | call.json_object()
    _check(body)
    command = _stored(call, {**old, **body}, old)
    _scope(call)[command["id"]] = command
    return Reply(200, command)


def _delete(call: Call) -> Reply:
    del _scope(call)[_one(call)["id"]]
    return NO_CONTENT


def _overwrite(call: Call) -> Reply:
    scope, body = _scope(call), call.body
    if not isinstance(body, list):
        raise invalid_form([((), "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")])
    problems: list[Problem] = []
    for n, command in enumerate(body):
        check_command(problems, (n,), command)
    if problems:
        raise invalid_form(problems)
    names = [(command["name"], command.get("type") or CHAT_INPUT) for command in body]
    if len(set(names)) < len(names):
        raise invalid_form([((), "APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique")])
    if sum(kind == CHAT_INPUT for _, kind in names) > MOST_COMMANDS:
        raise DiscordError(400, 30032, "Maximum number of application commands reached (100)")
    commands = [_stored(call, command, _same(scope, command)) for command in body]
    scope.clear()
    scope.update((command["id"], command) for command in commands)
    return Reply(200, commands)


def _check(command: JsonObject) -> None:
    problems: list[Problem] = []
    check_command(problems, (), command)
    if problems:
        raise invalid_form(problems)


def _same(scope: dict[str, JsonObject], body: JsonObject) -> JsonObject | None:
    """The command that this one replaces: by name and type."""
    wanted = (body["name"], body.get("type") or CHAT_INPUT)
    return next((command for command in scope.values() if (command["name"], command["type"]) == wanted), None)


def _stored(call: Call, body: JsonObject, old: JsonObject | None) -> JsonObject:
    fresh = call.world.next_id()
    command: JsonObject = {
        "id": old["id"] if old else fresh,
        "application_id": str(call.world.application_id),
        "version": fresh,
        "type": body.get("type") or CHAT_INPUT,
        "name": body["name"],
        **{key: default if body.get(key) is None else body[key] for key, default in _FIELDS.items()},
    }
    if "guild_id" in call.params:
        command["guild_id"] = call.params["guild_id"]
    if old is not None and {**command, "version": old["version"]} == old:
        return old  # a version tells of a change
    return command


def _all_permissions(call: Call) -> Reply:
    _scope(call)
    return Reply(200, [])


def _permissions(call: Call) -> Reply:
    _scope(call)
    raise unknown("application command permissions", 10066)


_GLOBAL = "/applications/{application_id}/commands"
_GUILD = "/applications/{application_id}/guilds/{guild_id}/commands"
ROUTES = (
    Route("GET", f"{_GUILD}/permissions", _all_permissions),
    Route("GET", f"{_GUILD}/{{command_id}}/permissions", _permissions),
    *(
        Route(method, f"{scope}{tail}", handler)
        for scope in (_GLOBAL, _GUILD)
        for method, tail, handler in (
            ("GET", "", _all),
            ("POST", "", _create),
            ("PUT", "", _overwrite),
            ("GET", "/{command_id}", _get),
            ("PATCH", "/{command_id}", _edit),
            ("DELETE", "/{command_id}", _delete),
        )
    ),
)
