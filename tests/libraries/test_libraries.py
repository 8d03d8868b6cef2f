"""Bots of every command library, from Discord's gateway through RabbitMQ to Discord's REST, in pools of 3 and 1."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import hikari
import pytest

from tests.libraries.rig import NO_REQUESTS, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.libraries.rig import Pool

pytestmark = pytest.mark.timeout(400)  # the first test of a pool waits for its start

DEFERRED, MODAL, CHOICES = 5, 9, 8
FLOW = 24
BY_NO_LUCK = 5
"""Clicks that all come to the right one of three processes."""
KNOWN_S = 1.0
"""By then every process knows whose a message or modal is, and miru's handler has started its view."""
MEMBER_WITHOUT = str(int(hikari.Permissions.SEND_MESSAGES))
COMMANDS = {"greet", "tools", "secret", "once", "slow", "panel", "feedback", "Inspect", "Quote"}
WITH_VIEWS = ("lightbulb", "miru")
NAMES = {
    "arc": COMMANDS,
    "crescent": COMMANDS,
    "tanjun": COMMANDS,
    "lightbulb": COMMANDS | {"poll", "form"},
    "miru": COMMANDS | {"poll", "form"},
}


@pytest.fixture
def bound(pool: Pool) -> Pool:
    """A pool of a library whose components and modals may live in one process."""
    if pool.library not in WITH_VIEWS:
        pytest.skip("this library has no views, menus or modals of its own")
    return pool


def test_the_group_syncs_its_commands_once(pool: Pool) -> None:
    sent = eventually(lambda: pool.requests("PUT", "/commands"), f"commands are sent: {pool.errors()}")
    assert [request["status"] for request in sent] == [200], pool.errors()
    assert {command["name"] for command in sent[0]["body"]} == NAMES[pool.library]


def test_every_process_runs_its_startup_hook_once(pool: Pool) -> None:
    for process in pool.processes:
        process.until_logged("startup_hook")
        assert len(process.logged("startup_hook")) == 1


def test_a_slash_command_gets_its_options(pool: Pool) -> None:
    assert pool.says("slash", name="greet", options={"name": "Ada", "times": 2}) == "Hello Ada! Hello Ada!"
    assert pool.says("slash", name="greet", options={"name": "Grace"}) == "Hello Grace!"


def test_subcommands_and_their_groups_are_found(pool: Pool) -> None:
    assert pool.says("slash", name="tools", subcommands=["echo"], options={"text": "once more"}) == "once more"
    assert pool.says("slash", name="tools", subcommands=["math", "add"], options={"a": 2, "b": 3}) == "5"


def test_an_option_is_completed(pool: Pool) -> None:
    answer = pool.ask("autocomplete", name="greet", options={"name": "A"}, focused="name")
    assert answer["type"] == CHOICES
    assert [choice["value"] for choice in answer["data"]["choices"]] == ["Ada", "Alan"]


def test_promise_5d_with_one_process_killed_and_one_added_each_interaction_is_answered_once(pool: Pool) -> None:
    """In the middle of these tests: what stands below runs with the pool that this one leaves."""
    size = len(pool.processes)
    flow = Flow(pool)
    flow.send(FLOW)
    added = pool.start()
    while not added.logged("consuming"):
        flow.send(1)
        time.sleep(0.2)  # a start takes many seconds on a busy machine: a stream, not a flood
    flow.send(FLOW // 2)
    pool.processes.pop(0).kill()
    before_the_kill = len(flow.sent)
    flow.send(FLOW // 2)
    answers = flow.answers()
    assert [tries for tries in answers if tries.count("accepted") != 1] == []
    # What the killed one answered and did not acknowledge, another one tries once more; arc and crescent then also
    # try to say that it failed.
    assert all(len(tries) <= 3 for tries in answers[:before_the_kill])
    assert [tries for tries in answers[before_the_kill:] if len(tries) > 1] == []
    assert flow.wrong() == []
    assert len(pool.requests("PUT", "/commands")) == 1
    assert len(pool.processes) == size


def test_a_permission_check_lets_some_in_and_refuses_others(pool: Pool) -> None:
    assert pool.says("slash", name="secret") == "the secret"
    assert pool.says("slash", name="secret", permissions=MEMBER_WITHOUT) == "you may not"


def test_a_deferred_answer_is_completed(pool: Pool) -> None:
    assert pool.says("slash", name="slow") == "here it is"


def test_a_process_that_stops_first_completes_what_it_deferred(pool: Pool) -> None:
    sent = [pool.send("slash", name="slow") for _ in range(2 * len(pool.processes))]
    eventually(lambda: all(pool.accepted(one["id"]) for one in sent), "all are deferred")
    assert pool.processes.pop(0).stop() == 0
    assert {pool.text_of(one) for one in sent} == {"here it is"}
    pool.add()


def test_user_and_message_commands_get_their_target(pool: Pool) -> None:
    said = pool.says("user", name="Inspect")
    assert said.removeprefix("user ").isdecimal()
    assert pool.says("message", name="Quote") == "> a message worth a command"


def test_a_cooldown_is_counted_by_each_process(pool: Pool) -> None:
    """In memory, so that N processes let N through: docs/libraries.md."""
    size = len(pool.processes)
    first, *_, last = pool.world.simulator.member_ids()
    user_id = last if size > 1 else first  # one who has not used it in the other pool
    said = [pool.says("slash", name="once", user_id=user_id) for _ in range(6)]
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


def test_a_modal_with_a_custom_id_of_its_own_is_answered_by_any(pool: Pool) -> None:
    modal = pool.ask("slash", name="feedback")
    assert (modal["type"], modal["data"]["custom_id"]) == (MODAL, "feedback")
    assert pool.says("modal_submit", custom_id="feedback", fields={"text": "nice"}) == "thanks: nice"


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
    for _ in range(BY_NO_LUCK):
        sent = bound.send("slash", name="poll")
        button = bound.callback_of(sent)["data"]["components"][0]["components"][0]
        message_id = eventually(lambda sent=sent: bound.message_id_of(sent), "the answer's message")
        time.sleep(KNOWN_S)
        assert bound.says("button", custom_id=button["custom_id"], message_id=message_id) == "voted"


def test_a_modal_that_lives_in_its_process_is_answered(bound: Pool) -> None:
    for _ in range(BY_NO_LUCK):
        modal = bound.ask("slash", name="form")
        field = modal["data"]["components"][0]["components"][0]
        fields = {field["custom_id"]: "nice"}
        time.sleep(KNOWN_S)
        said = bound.says("modal_submit", custom_id=modal["data"]["custom_id"], fields=fields)
        assert said == "bound thanks: nice"


class Flow:
    """Interactions of every kind that a bot has, one after the other, and whether each gets its own answer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.sent: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = []

    def send(self, count: int) -> None:
        kinds = (*KINDS, *OWN_VIEWS) if self._pool.library in WITH_VIEWS else KINDS
        for _ in range(count):
            number = len(self.sent)
            kind, options, is_right = kinds[number % len(kinds)](str(number))
            self.sent.append((self._pool.send(kind, **options), is_right))

    def answers(self) -> list[list[str]]:
        """The outcome of every try to answer, once each interaction is answered."""
        ids = [sent["id"] for sent, _ in self.sent]

        def all_answered() -> dict[str, Any] | None:
            answers = self._pool.answers()
            return answers if all(_accepted(answers.get(one, ())) for one in ids) else None

        answers = eventually(all_answered, f"all are answered: {self._pool.errors()}")
        return [[one["outcome"] for one in answers[interaction_id]] for interaction_id in ids]

    def wrong(self) -> list[dict[str, Any]]:
        """The accepted answers that belong to another interaction or command."""
        bodies = [(self._pool.callback_of(sent), is_right) for sent, is_right in self.sent]
        return [body for body, is_right in bodies if not is_right(body)]


def _accepted(tries: Iterable[dict[str, Any]]) -> bool:
    return any(one["outcome"] == "accepted" for one in tries)


def _says(text: str) -> Callable[[dict[str, Any]], bool]:
    return lambda body: body["data"].get("content") == text


Kinds = tuple["Callable[[str], tuple[str, dict[str, Any], Callable[[dict[str, Any]], bool]]]", ...]
OWN_VIEWS: Kinds = (
    lambda _: ("slash", {"name": "poll"}, lambda body: bool(body["data"]["components"])),
    lambda _: ("slash", {"name": "form"}, lambda body: body["type"] == MODAL),
)
KINDS: Kinds = (
    lambda n: ("slash", {"name": "greet", "options": {"name": n}}, _says(f"Hello {n}!")),
    lambda n: ("slash", {"name": "tools", "subcommands": ["echo"], "options": {"text": n}}, _says(n)),
    lambda n: (
        "slash",
        {"name": "tools", "subcommands": ["math", "add"], "options": {"a": int(n), "b": 1}},
        _says(str(int(n) + 1)),
    ),
    lambda _: ("slash", {"name": "secret"}, _says("the secret")),
    lambda _: ("slash", {"name": "secret", "permissions": MEMBER_WITHOUT}, _says("you may not")),
    lambda _: ("slash", {"name": "slow"}, lambda body: body["type"] == DEFERRED),
    lambda _: (
        "autocomplete",
        {"name": "greet", "options": {"name": "G"}, "focused": "name"},
        lambda body: [choice["value"] for choice in body["data"]["choices"]] == ["Grace"],
    ),
    lambda _: ("user", {"name": "Inspect"}, lambda body: body["data"]["content"].startswith("user ")),
    lambda _: ("message", {"name": "Quote"}, _says("> a message worth a command")),
    lambda _: ("button", {"custom_id": "panel:press"}, _says("pressed")),
    lambda _: ("select", {"custom_id": "panel:colour", "values": ["blue"]}, _says("chose blue")),
    lambda _: ("slash", {"name": "feedback"}, lambda body: body["data"]["custom_id"] == "feedback"),
    lambda n: ("modal_submit", {"custom_id": "feedback", "fields": {"text": n}}, _says(f"thanks: {n}")),
)


def test_nothing_was_late_and_no_route_unknown(pool: Pool) -> None:
    journal = pool.world.simulator.journal(NO_REQUESTS)
    assert (journal["late_count"], journal["unknown_routes"]) == (0, {})
