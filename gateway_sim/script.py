"""A script: faults, traffic and dispatches at set times, from a JSON file.

{"clock": "start" | "first_ready", "steps": [{"at_s": 2.5, "fault": {"kind": "drop"}}, …]}
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from gateway_sim.faults import parse_fault
from gateway_sim.traffic_plan import parse_traffic

if TYPE_CHECKING:
    from pathlib import Path

    from gateway_sim.actions import Actions
    from gateway_sim.gateway_state import GatewayState
    from gateway_sim.json_value import Json

_ACTIONS = ("fault", "traffic", "dispatch", "interaction", "clear_faults", "stop_traffic")
_CLOCKS = ("start", "first_ready")


@dataclass(frozen=True, slots=True)
class Step:
    """One action, `at_s` seconds after the script's clock began."""

    at_s: float
    action: str
    body: Json


@dataclass(frozen=True, slots=True)
class Script:
    """Steps in order of time; the clock begins at the start, or with the first session."""

    clock: str
    steps: tuple[Step, ...]


def load_script(path: Path) -> Script:
    """Read and check a script; ValueError says what to change."""
    try:
        document = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        msg = f"the script {path} cannot be read: {error}"
        raise ValueError(msg) from error
    if not isinstance(document, dict) or not isinstance(document.get("steps"), list):
        msg = f"the script {path} must be an object with a list of 'steps'"
        raise ValueError(msg)  # noqa: TRY004 - every problem of a script is a ValueError
    clock = document.get("clock", "start")
    if clock not in _CLOCKS:
        msg = f"the script's clock must be one of {', '.join(_CLOCKS)}, not {clock!r}"
        raise ValueError(msg)
    steps = [_parse_step(number, raw) for number, raw in enumerate(document["steps"], 1)]
    return Script(clock, tuple(sorted(steps, key=lambda step: step.at_s)))


def _parse_step(number: int, raw: Json) -> Step:
    named = [action for action in _ACTIONS if isinstance(raw, dict) and action in raw]
    at_s = raw.get("at_s") if isinstance(raw, dict) else None
    if len(named) != 1 or len(raw) != 2 or isinstance(at_s, bool) or not isinstance(at_s, int | float) or at_s < 0:
        msg = f"step {number} of the script must have 'at_s' (seconds) and one of {', '.join(_ACTIONS)}"
        raise ValueError(msg)
    action, body = named[0], raw[named[0]]
    try:
        if action in {"fault", "traffic", "dispatch", "interaction"} and not isinstance(body, dict):
            msg = f"'{action}' must be an object"
            raise ValueError(msg)  # noqa: TRY301 - one place adds the step's number
        if action == "fault":
            parse_fault(body)
        if action == "traffic":
            parse_traffic(body, default_mix="mixed", default_seed=0)
    except ValueError as error:
        msg = f"step {number} of the script: {error}"
        raise ValueError(msg) from error
    return Step(float(at_s), action, body)


async def run_script(script: Script, state: GatewayState, actions: Actions) -> None:
    """Do the steps at their times."""
    if script.clock == "first_ready":
        await state.first_session.wait()
    began_at = asyncio.get_running_loop().time()
    for step in script.steps:
        await asyncio.sleep(began_at + step.at_s - asyncio.get_running_loop().time())
        await _do(step, actions)


async def _do(step: Step, actions: Actions) -> None:
    match step.action:
        case "fault":
            await actions.fault(step.body)
        case "clear_faults":
            await actions.clear_faults()
        case "traffic":
            actions.traffic(step.body)
        case "stop_traffic":
            actions.stop_traffic()
        case "dispatch":
            actions.dispatch(step.body)
        case "interaction":
            actions.interaction(step.body)
