"""A miru view and a miru modal that live in one process of three: every click is answered, by that one."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.acceptance.conftest import GROUP, until

if TYPE_CHECKING:
    from tests.acceptance.conftest import Stage

CLICKS = 9
PATIENCE_S = 20.0
KNOWN_S = 1.0
"""By then every process knows whose a message is: a faster click may go to any."""


async def test_a_view_and_a_modal_of_one_process_answer_whoever_gets_the_click(stage: Stage) -> None:
    await stage.start("--shards", "2", "--max-concurrency", "2", consumer_count=0)
    for _ in range(3):
        entrypoint = ("--entrypoint", "sticky_miru_bot:setup", "--entrypoint-dir", str(Path(__file__).parent))
        stage.fleet.add_consumer(*entrypoint, "--group", GROUP, "--max-interaction-age", "900")
    await stage.consuming(3)
    stage.fleet.add_worker("--shards", "0-1")
    await stage.connected(2)

    panel = await _answer_to(stage, kind="slash", name="panel")
    message_id = await _shown_message(stage)
    assert panel["data"]["content"] == "panel"
    await asyncio.sleep(KNOWN_S)
    for number in range(1, CLICKS + 1):
        answer = await _answer_to(stage, kind="button", custom_id="count", message_id=message_id)
        assert answer["data"]["content"] == str(number)
    modal = await _answer_to(stage, kind="button", custom_id="ask", message_id=message_id)
    assert modal["data"]["custom_id"] == "question"
    await asyncio.sleep(KNOWN_S)
    greeting = await _answer_to(stage, kind="modal_submit", custom_id="question", fields={"name": "Ada"})
    assert greeting["data"]["content"] == "Hello Ada!"


async def _answer_to(stage: Stage, **interaction: Any) -> dict[str, Any]:
    sent = await stage.simulator.interaction(**interaction)
    path = f"/interactions/{sent['id']}/{sent['token']}/callback"

    async def callback() -> dict[str, Any] | None:
        requests = (await stage.simulator.rest_journal())["requests"]
        return next((request["body"] for request in requests if path in request["path"]), None)

    return dict(await until(callback, f"{interaction['kind']} is answered", timeout_s=PATIENCE_S))


async def _shown_message(stage: Stage) -> str:
    """The message that the command's answer made."""

    async def created() -> list[str]:
        return [row["id"] for row in await stage.simulator.ledger_after(0) if row["type"] == "MESSAGE_CREATE"]

    return str((await until(created, "the panel is there"))[-1])
