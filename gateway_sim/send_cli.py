"""`gw-sim send`: make a running simulator send an interaction or a message."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from typing import Annotated, Any

import typer

_TIMEOUT_S = 10.0

send_app = typer.Typer(help="Make a running simulator send something.", no_args_is_help=True)

_Control = Annotated[str, typer.Option("--control", envvar="GW_SIM_CONTROL", help="The control URL of the simulator.")]


@send_app.command()
def interaction(
    control: _Control,
    kind: Annotated[str, typer.Argument(help="slash, autocomplete, user, message, button, select or modal_submit.")],
    options: Annotated[
        str, typer.Option(help='Options as JSON, such as {"name": "ping"} or {"custom_id": "ok"}.')
    ] = "{}",
) -> None:
    """Send an interaction and print its id and token."""
    _post(control, "/interaction", {**_object(options), "kind": kind})


@send_app.command()
def message(
    control: _Control,
    content: Annotated[str, typer.Argument(help="The text of the message.")],
    guild: Annotated[str | None, typer.Option(help="The guild; default: the first one.")] = None,
    channel: Annotated[str | None, typer.Option(help="The channel; default: the guild's first text channel.")] = None,
) -> None:
    """Send a message of a member, and print its id."""
    _post(control, "/message", {"content": content, "guild_id": guild, "channel_id": channel})


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        _fail(f"--options must be a JSON object, not {text!r}", 2)
    return dict(value)


def _post(control: str, path: str, body: dict[str, Any]) -> None:
    if not control.startswith("http://"):
        _fail(f"--control must be an http:// URL, not {control!r}", 2)
    request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
        control.rstrip("/") + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - as above
            sys.stdout.write(response.read().decode() + "\n")
    except urllib.error.HTTPError as error:
        _fail(f"the simulator refused: {error.read().decode(errors='replace')}", 2)
    except OSError as error:
        _fail(f"no simulator answers at {control}: {error}", 1)


def _fail(text: str, code: int) -> None:
    sys.stderr.write(f"gw-sim: {text}\n")
    raise typer.Exit(code)
