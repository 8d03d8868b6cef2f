"""Whether the bot has the command that an interaction is about: Discord sends no other one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway_sim.world import World

JsonObject = dict[str, Any]

_TYPES = {"slash": 1, "autocomplete": 1, "user": 2, "message": 3}
_SUBCOMMAND, _GROUP = 1, 2


def check_command(world: World, kind: str, given: Mapping[str, Any]) -> None:
    """ValueError says which commands, subcommands or options there are, if the one that is meant is not among them.

    A bot that registered no command at all may take whatever comes.
    """
    command_type = _TYPES.get(kind)
    if command_type is None or not any(world.commands.values()):
        return
    name = str(given.get("name", "ping"))
    guild_id = int(given.get("guild_id") or (world.guild_ids[0] if world.guild_ids else 0))
    command = world.find_command(name, command_type, guild_id)
    if command is None:
        what = "slash command" if command_type == 1 else f"{kind} command"
        same = [one["name"] for scope in (guild_id, 0) for one in world.commands.get(scope, {}).values()
                if one["type"] == command_type]  # fmt: skip
        msg = f"the bot has no {what} {name!r}: {_list(same)}"
        raise ValueError(msg)
    if command_type == 1:
        _check_options(_leaf(command, given.get("subcommands") or ()), given.get("options") or {}, kind)


def _leaf(command: JsonObject, path: Sequence[str]) -> JsonObject:
    """The subcommand at the end of the path, or the command itself."""
    if isinstance(path, str):
        msg = f"subcommands is a list of names, outermost first, not {path!r}"
        raise ValueError(msg)  # noqa: TRY004 - every problem of a request is a ValueError
    walked = command["name"]
    for name in path:
        inner = {option["name"]: option for option in _subcommands(command)}
        if name not in inner:
            msg = f"{walked!r} has no subcommand {name!r}: {_list(inner)}"
            raise ValueError(msg)
        command, walked = inner[name], f"{walked} {name}"
    if inner_names := [option["name"] for option in _subcommands(command)]:
        msg = f"{walked!r} is a group: give subcommands, outermost first; {_list(inner_names)}"
        raise ValueError(msg)
    return command


def _subcommands(command: JsonObject) -> list[JsonObject]:
    return [option for option in command.get("options") or () if option["type"] in (_SUBCOMMAND, _GROUP)]


def _check_options(command: JsonObject, given: Any, kind: str) -> None:  # noqa: ANN401 - JSON
    there = {option["name"]: option for option in command.get("options") or ()}
    names = set(given) if isinstance(given, dict) else {option["name"] for option in given}
    if unknown := sorted(names - there.keys()):
        msg = f"{command['name']!r} has no option {', '.join(unknown)}: {_list(there)}"
        raise ValueError(msg)
    missing = [name for name, option in there.items() if option.get("required") and name not in names]
    if missing and kind == "slash":
        msg = f"{command['name']!r} needs options {', '.join(missing)}"
        raise ValueError(msg)


def _list(names: Iterable[str]) -> str:
    return f"there is {', '.join(names)}" if names else "there is none"
