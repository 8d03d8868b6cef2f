"""`gw-sim send`: make a running simulator send an interaction or a message, and show what the bot answers."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway_sim import bot_answers
from gateway_sim.control_client import ControlClient, ControlError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    _Find = Callable[[Iterable[dict[str, Any]], dict[str, Any]], Iterator[dict[str, Any]]]

_POLL_S = 0.05

send_app = typer.Typer(
    help="Make a running simulator send something, and show what the bot answers.", no_args_is_help=True
)

_Control = Annotated[
    str | None,
    typer.Option(
        envvar="GW_SIM_CONTROL",
        help="The control URL of the simulator; default: of the `gw-run --sim` that was started in this folder.",
    ),
]
_Wait = Annotated[float, typer.Option(min=0, help="Seconds to wait for the bot's answer; 0: do not wait.")]


@send_app.command()
def interaction(
    kind: Annotated[str, typer.Argument(help="slash, autocomplete, user, message, button, select or modal_submit.")],
    options: Annotated[
        str, typer.Option(help='Options as JSON, such as {"name": "ping"} or {"custom_id": "ok"}.')
    ] = "{}",
    control: _Control = None,
    wait: _Wait = 3.0,
) -> None:
    """Send an interaction; print its id and token, then the bot's answer.

    What --options takes:

    slash: name, options, subcommands (outermost first); autocomplete: the same, and focused

    user: name, target_id; message: name

    button: custom_id, message_id; select: the same, and values; modal_submit: custom_id, fields

    each: guild_id, channel_id, user_id, permissions, locale, dm

    Examples:

    gw-sim send interaction slash --options '{"name": "greet", "options": {"name": "Ada"}}'

    gw-sim send interaction slash --options '{"name": "tools", "subcommands": ["math", "add"]}'

    gw-sim send interaction button --options '{"custom_id": "ok"}'
    """
    body = {**_object(options), "kind": kind}
    _send(control, "/interaction", body, bot_answers.to_interaction, wait)


@send_app.command()
def message(
    content: Annotated[str, typer.Argument(help="The text of the message.")],
    guild: Annotated[str | None, typer.Option(help="The guild; default: the first one.")] = None,
    channel: Annotated[str | None, typer.Option(help="The channel; default: the guild's first text channel.")] = None,
    control: _Control = None,
    wait: _Wait = 3.0,
) -> None:
    """Send a message of a member; print its id, then what the bot sends into that channel.

    Example: gw-sim send message ping
    """
    body = {"content": content, "guild_id": guild, "channel_id": channel}
    _send(control, "/message", body, bot_answers.to_message, wait)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        _fail(f"--options must be a JSON object, not {text!r}", 2)
    return dict(value)


def _send(control: str | None, path: str, body: dict[str, Any], find: _Find, wait_s: float) -> None:
    try:
        simulator = ControlClient(control)
        before = simulator.get("/rest?after=1000000000")["request_count"]
        sent = simulator.post(path, body)
        _print(sent)
        if not sent["delivered"]:
            _fail("nobody got it: no shard of that guild is connected yet, or none with the intents for it", 1)
        if wait_s:
            _show_answers(lambda: list(find(simulator.get(f"/rest?after={before}")["requests"], sent)), wait_s)
    except ControlError as error:
        _fail(str(error), error.code)


def _show_answers(look: Callable[[], list[dict[str, Any]]], wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    shown = 0
    while True:
        found = look()
        for one in found[shown:]:
            _print(one)
        shown = len(found)
        if bot_answers.is_complete(found):
            return
        if time.monotonic() > deadline:
            _fail(f"no {'complete ' if shown else ''}answer of the bot within {wait_s:g} s", 1)
        time.sleep(_POLL_S)


def _print(body: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(body, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _fail(text: str, code: int) -> None:
    sys.stderr.write(f"gw-sim: {text}\n")
    raise typer.Exit(code)
