"""Bots of every command library, from Discord's gateway through RabbitMQ to Discord's REST, in pools of 3 and 1."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import hikari
import pytest

from tests.libraries.rig import eventually

if TYPE_CHECKING:
    from tests.libraries.rig import Pool

pytestmark = pytest.mark.timeout(400)  # the first test of a pool waits for its start

MODAL, CHOICES = 9, 8
FLOW = 24
MEMBER_WITHOUT = str(int(hikari.Permissions.SEND_MESSAGES))
COMMANDS = {"greet", "tools", "secret", "once", "slow", "panel", "feedback", "Inspect", "Quote"}
NAMES = {
    "arc": COMMANDS,
    "crescent": COMMANDS,
    "tanjun": COMMANDS,
    "lightbulb": COMMANDS | {"poll", "form"},
    "miru": {"panel", "poll", "form"},
}


@pytest.fixture
def commands(pool: Pool) -> Pool:
    """A pool whose bot has slash commands of its own."""
    if pool.library == "miru":
        pytest.skip("miru has components only: its bot takes its commands from arc")
    return pool


@pytest.fixture
def bound(pool: Pool) -> Pool:
    """A pool of a library whose components and modals may live in one process."""
    if pool.library not in ("lightbulb", "miru"):
        pytest.skip("this library has no views, menus or modals of its own")
    return pool


def test_the_group_syncs_its_commands_once(pool: Pool) -> None:
    sent = pool.requests("PUT", "/commands")
    assert [request["status"] for request in sent] == [200], pool.errors()
    assert {command["name"] for command in sent[0]["body"]} == NAMES[pool.library]


def test_every_process_runs_its_startup_hook_once(pool: Pool) -> None:
    for process in pool.processes:
        process.until_logged("startup_hook")
        assert len(process.logged("startup_hook")) == 1


def test_a_slash_command_gets_its_options(commands: Pool) -> None:
    assert commands.says("slash", name="greet", options={"name": "Ada", "times": 2}) == "Hello Ada! Hello Ada!"
    assert commands.says("slash", name="greet", options={"name": "Grace"}) == "Hello Grace!"


def test_subcommands_and_their_groups_are_found(commands: Pool) -> None:
    assert commands.says("slash", name="tools", subcommands=["echo"], options={"text": "once more"}) == "once more"
    assert commands.says("slash", name="tools", subcommands=["math", "add"], options={"a": 2, "b": 3}) == "5"


def test_an_option_is_completed(commands: Pool) -> None:
    answer = commands.ask("autocomplete", name="greet", options={"name": "A"}, focused="name")
    assert answer["type"] == CHOICES
    assert [choice["value"] for choice in answer["data"]["choices"]] == ["Ada", "Alan"]


def test_a_permission_check_lets_some_in_and_refuses_others(commands: Pool) -> None:
    assert commands.says("slash", name="secret") == "the secret"
    assert commands.says("slash", name="secret", permissions=MEMBER_WITHOUT) == "you may not"


def test_a_deferred_answer_is_completed(commands: Pool) -> None:
    assert commands.says("slash", name="slow") == "here it is"


def test_user_and_message_commands_get_their_target(commands: Pool) -> None:
    said = commands.says("user", name="Inspect")
    assert said.removeprefix("user ").isdecimal()
    assert commands.says("message", name="Quote") == "> a message worth a command"


def test_a_cooldown_is_counted_by_each_process(commands: Pool) -> None:
    """In memory, so that N processes let N through: docs/libraries.md."""
    size = len(commands.processes)
    first, *_, last = commands.world.simulator.member_ids()
    user_id = last if size > 1 else first  # one who has not used it in the other pool
    said = [commands.says("slash", name="once", user_id=user_id) for _ in range(6)]
    assert set(said) <= {"done", "too soon"}
    assert 1 <= said.count("done") <= size
    assert said[0] == "done"


def test_buttons_and_menus_that_outlive_their_process_are_answered_by_any(pool: Pool) -> None:
    panel = pool.ask("slash", name="panel")
    rows = [row["components"][0] for row in panel["data"]["components"]]
    assert [row["custom_id"] for row in rows] == ["panel:press", "panel:colour"]
    for _ in range(2):
        assert pool.says("button", custom_id="panel:press") == "pressed"
        assert pool.says("select", custom_id="panel:colour", values=["red"]) == "chose red"


def test_a_modal_with_a_custom_id_of_its_own_is_answered_by_any(commands: Pool) -> None:
    modal = commands.ask("slash", name="feedback")
    assert (modal["type"], modal["data"]["custom_id"]) == (MODAL, "feedback")
    assert commands.says("modal_submit", custom_id="feedback", fields={"text": "nice"}) == "thanks: nice"


def test_a_prefix_command_is_answered_once(pool: Pool) -> None:
    if pool.library != "tanjun":
        pytest.skip("this library has no prefix commands")
    before = len(_said(pool, "by prefix"))
    pool.world.simulator.post("/message", {"content": "!say by prefix"})
    eventually(lambda: len(_said(pool, "by prefix")) > before, f"!say is answered: {pool.errors()}")
    assert len(_said(pool, "by prefix")) == before + 1


def _said(pool: Pool, text: str) -> list[object]:
    return [one for one in pool.requests("POST", "/messages") if (one["body"] or {}).get("content") == text]


def test_a_view_that_lives_in_its_process_is_answered(bound: Pool) -> None:
    sent = bound.send("slash", name="poll")
    button = bound.callback_of(sent)["data"]["components"][0]["components"][0]
    message_id = eventually(lambda: bound.message_id_of(sent), "the answer's message")
    assert bound.says("button", custom_id=button["custom_id"], message_id=message_id) == "voted"


def test_a_modal_that_lives_in_its_process_is_answered(bound: Pool) -> None:
    modal = bound.ask("slash", name="form")
    field = modal["data"]["components"][0]["components"][0]
    fields = {field["custom_id"]: "nice"}
    said = bound.says("modal_submit", custom_id=modal["data"]["custom_id"], fields=fields)
    assert said == "bound thanks: nice"


def test_a_killed_and_an_added_process_change_nothing(pool: Pool) -> None:
    size = len(pool.processes)
    sent = [_ask_for_something(pool, number) for number in range(FLOW)]
    added = pool.start()
    while not added.logged("consuming"):
        sent.append(_ask_for_something(pool, len(sent)))
        time.sleep(0.2)  # a start takes many seconds on a busy machine: a stream, not a flood
    sent += [_ask_for_something(pool, number) for number in range(FLOW // 2)]
    pool.processes.pop(0).kill()
    sent += [_ask_for_something(pool, number) for number in range(FLOW // 2)]
    eventually(lambda: all(pool.accepted(one["id"]) for one in sent), f"all are answered: {pool.errors()}")
    assert {pool.accepted(one["id"]) for one in sent} == {1}
    assert len(pool.requests("PUT", "/commands")) == 1
    assert len(pool.processes) == size


def _ask_for_something(pool: Pool, number: int) -> dict[str, str]:
    if pool.library == "miru":
        return pool.send("button", custom_id="panel:press")
    return pool.send("slash", name="greet", options={"name": str(number)})


def test_nothing_was_late_and_no_route_unknown(pool: Pool) -> None:
    journal = pool.world.simulator.journal()
    assert (journal["late_count"], journal["unknown_routes"]) == (0, {})
