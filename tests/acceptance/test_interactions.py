"""A bot made with a command library: what Discord sends reaches its handlers, their answers reach Discord's REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.conftest import until

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

MESSAGE, MODAL = 4, 9  # types of an interaction callback
GREETING = {"kind": "slash", "name": "greet", "options": {"name": "Ada"}}
BUTTON = {"kind": "button", "custom_id": "rename:Ada"}
MODAL_SUBMIT = {"kind": "modal_submit", "custom_id": "greeted", "fields": {"name": "Grace"}}


@pytest.mark.parametrize("entrypoint", ["arc_bot:setup", "crescent_bot:setup"])
async def test_a_slash_command_a_button_and_a_modal_are_answered_once_each(stage: Stage, entrypoint: str) -> None:
    await stage.start("--shards", "2", "--max-concurrency", "2", consumer_count=1, entrypoint=entrypoint)
    stage.fleet.add_worker("--shards", "0-1")
    await stage.connected(2)

    command = await _answer_to(stage, GREETING)
    button = await _answer_to(stage, BUTTON)
    modal = await _answer_to(stage, MODAL_SUBMIT)

    assert (command["type"], command["data"]["content"]) == (MESSAGE, "Hello Ada!")
    assert (button["type"], button["data"]["custom_id"]) == (MODAL, "greeted")
    assert (modal["type"], modal["data"]["content"]) == (MESSAGE, "Hello Grace!")
    journal = await stage.simulator.rest_journal()
    assert [len(answers) for answers in journal["answers"].values()] == [1, 1, 1]
    assert (journal["late_count"], journal["repeated_count"], journal["unknown_routes"]) == (0, 0, {})


async def _answer_to(stage: Stage, interaction: dict[str, Any]) -> dict[str, Any]:
    sent = await stage.simulator.interaction(**interaction)
    path = f"/interactions/{sent['id']}/{sent['token']}/callback"

    async def callback() -> dict[str, Any] | None:
        requests = (await stage.simulator.rest_journal())["requests"]
        return next((request["body"] for request in requests if path in request["path"]), None)

    found = await until(callback, f"{interaction['kind']} is answered")
    return dict(found)
