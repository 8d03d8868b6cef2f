"""`gw-ctl dead` against real RabbitMQ: what is read stays, what is sent again is stored before it is forgotten."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest

from eventbus.amqp.broker import Broker
from eventbus.amqp.dead_letters import WINDOW, DeadLetterReader
from eventbus.amqp.deliveries import declare_dead_letters
from eventbus.amqp.exact_message import ExactMessage
from eventbus.amqp.link import Link
from eventbus.names import Names
from tests.forge import Forge
from tests.waiting import eventually
from tests.wire import consume_rig
from tests.wire.consume_rig import plain_headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

COMMAND = str(Path(sys.executable).parent / "gw-ctl")
TIMEOUT_S = 60.0
GROUP = "g"


@dataclass
class Desk:
    """A group with a queue and a queue of dead letters, and gw-ctl to work on them."""

    broker_url: str
    names: Names
    channel: AbstractChannel

    @property
    def dead_queue(self) -> str:
        return self.names.dead(GROUP)

    @property
    def origin(self) -> str:
        return self.names.group(GROUP)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
        return kept | {"AMQP_URL": self.broker_url, "GW_NAMESPACE": self.names.namespace, "COLUMNS": "200"}

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            COMMAND, "dead", *arguments, env=self.environment,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def dead(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code and what it said."""
        if "--group" not in arguments:
            arguments = (*arguments, "--group", GROUP)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            files = {"out": out.fileno(), "err": err.fileno()}
            process = Forge.shared().start("gw-ctl", ["dead", *arguments], self.environment, **files)
            async with asyncio.timeout(TIMEOUT_S):
                while (code := process.poll()) is None:  # noqa: ASYNC110 - a process
                    await asyncio.sleep(0.01)
            said, complained = (os.pread(file, 1 << 20, 0).decode() for file in files.values())
            return code, said, complained

    async def said(self, *arguments: str) -> Any:
        """What it said as JSON; it must succeed."""
        code, out, err = await self.dead(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    async def bury(self, number: int, event_type: str = "MESSAGE_CREATE", *, body: bytes = b"", **headers: Any) -> None:
        """A dead letter as a consumer writes it."""
        dead = {"reason": f"reason {number}", "origin": self.origin, "attempts": 1}
        of_dispatch = {"shard": 0, "fencing_token": 5, "replayed": False, "received_at": 1767312000.123456}
        message = ExactMessage(
            body or json.dumps({"op": 0, "t": event_type, "s": number, "d": {"n": number}}).encode(),
            headers={**of_dispatch, **dead, **headers}, type=event_type, message_id=f"s:{number}",
            content_type="application/json", delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )  # fmt: skip
        await self.channel.default_exchange.publish(message, self.dead_queue, timeout=10)

    async def take(self, queue: str) -> list[AbstractIncomingMessage]:
        """Everything in a queue, for good."""
        taken = []
        source = await self.channel.get_queue(queue)
        while (message := await source.get(fail=False, no_ack=True)) is not None:
            message.headers.pop("x-delivery-count", None)  # RabbitMQ adds it to what is got
            taken.append(message)
        return taken

    async def numbers(self, queue: str) -> list[int]:
        return [int(str(message.message_id).partition(":")[2]) for message in await self.take(queue)]

    async def ready_count(self, queue: str) -> int:
        declared = await self.channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0


@pytest.fixture
async def desk(broker_url: str, names: Names, observer: AbstractChannel) -> AsyncIterator[Desk]:
    made = Desk(broker_url, names, observer)
    await declare_dead_letters(observer, made.dead_queue)
    arguments: dict[str, Any] = {
        "x-queue-type": "quorum", "x-delivery-limit": 1,
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": made.dead_queue,
    }  # fmt: skip
    await observer.declare_queue(made.origin, durable=True, arguments=arguments)
    yield made
    for queue in (made.origin, made.dead_queue):
        await observer.queue_delete(queue)


async def test_listing_leaves_every_letter_in_its_place_however_often_and_however_much_is_read(desk: Desk) -> None:
    for number in range(12):
        await desk.bury(number)
    for limit, shown in ((5, 5), (3, 3), (8, 8), (100, 12), (2, 2)):
        found = await desk.said("list", "--limit", str(limit))
        assert (found["count"], len(found["letters"])) == (12, shown)
        assert [letter["message_id"] for letter in found["letters"]] == [f"s:{n}" for n in range(shown)]
    assert await desk.numbers(desk.dead_queue) == list(range(12))


async def test_a_list_says_what_a_letter_is_and_why_it_is_there(desk: Desk) -> None:
    await desk.bury(1, reason="[red]no JSON\x1b[31m here")
    await desk.bury(2, "TYPING_START")

    code, out, _ = await desk.dead("list")
    typed = await desk.said("list", "--type", "TYPING_START")

    assert code == 0
    assert "2 dead letters in group g; 2 shown" in out
    assert "[red]no JSON\\x1b[31m here" in out
    assert "\x1b" not in out
    (letter,) = typed["letters"]
    assert (letter["message_id"], letter["type"], letter["origin"]) == ("s:2", "TYPING_START", desk.origin)
    assert (letter["attempts"], letter["reason"], letter["shard"], letter["retried"]) == (1, "reason 2", 0, 0)
    assert typed["count"] == 2


async def test_show_gives_headers_properties_and_body_and_the_letter_stays(desk: Desk) -> None:
    await desk.bury(1)
    await desk.bury(2, body=b"\x1b[2Jnot \xff json")

    letter = await desk.said("show", "s:1")
    code, out, _ = await desk.dead("show", "s:2")
    missing, _, err = await desk.dead("show", "s:3")

    assert letter["body"] == {"op": 0, "t": "MESSAGE_CREATE", "s": 1, "d": {"n": 1}}
    assert letter["headers"]["received_at"] == 1767312000.123456
    assert letter["properties"]["content_type"] == "application/json"
    assert code == 0
    assert "\\x1b[2Jnot \\xff json" in out
    assert "reason: reason 2" in out
    assert (missing, err) == (1, "gw-ctl: group 'g' has no such dead letter: s:3\n")
    assert await desk.numbers(desk.dead_queue) == [1, 2]


async def test_retry_sends_a_letter_to_its_origin_as_it_was_and_the_others_stay_in_order(desk: Desk) -> None:
    for number in range(5):
        await desk.bury(number)

    said = await desk.said("retry", "s:1", "s:3")

    assert (said["sent"], said["left"], said["problems"]) == (2, 3, [])
    first, second = await desk.take(desk.origin)
    assert (first.message_id, second.message_id) == ("s:1", "s:3")
    assert first.headers == {
        "shard": 0, "fencing_token": 5, "replayed": False, "received_at": 1767312000.123456, "retried": 1
    }  # fmt: skip
    assert (first.type, first.content_type, json.loads(first.body)["d"]) == (
        "MESSAGE_CREATE",
        "application/json",
        {"n": 1},
    )
    assert first.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert await desk.numbers(desk.dead_queue) == [0, 2, 4]


async def test_retry_chooses_by_type_reason_and_limit(desk: Desk) -> None:
    await desk.bury(1, "TYPING_START", reason="Timeout in handler")
    await desk.bury(2, reason="timeout again")
    await desk.bury(3, reason="no JSON")
    await desk.bury(4, reason="a TIMEOUT", retried=1)

    assert (await desk.said("retry", "--type", "TYPING_START", "--yes"))["sent"] == 1
    assert (await desk.said("retry", "--reason", "timeout", "--limit", "1", "--yes"))["sent"] == 1
    assert (await desk.said("retry", "--reason", "timeout", "--yes"))["left"] == 1
    assert [message.headers["retried"] for message in await desk.take(desk.origin)] == [1, 1, 2]
    assert await desk.numbers(desk.dead_queue) == [3]


async def test_a_letter_is_sent_to_a_queue_of_its_group_or_nowhere(desk: Desk) -> None:
    stranger = await desk.channel.declare_queue(f"{desk.names.namespace}.group.other", exclusive=True)
    await desk.bury(1, origin=stranger.name)
    await desk.bury(2, origin=f"{desk.origin}.gone")
    await desk.bury(3)

    code, out, _ = await desk.dead("retry", "--all", "--yes")

    assert code == 1
    assert "sent 1, left 2 in group g" in out
    assert f"not sent: s:1: its origin '{stranger.name}' is no queue of group 'g'" in out
    assert f"not sent: s:2: its origin '{desk.origin}.gone' does not exist any more" in out
    assert await desk.ready_count(stranger.name) == 0
    assert await desk.numbers(desk.dead_queue) == [1, 2]


async def test_a_letter_that_rabbitmq_moved_goes_back_by_its_x_death(desk: Desk) -> None:
    foreign = {"text": b"caf\xe9", "far": [1e300, {"name": b"\xff"}], "half": "\ud800"}
    message = ExactMessage(
        b"{}", headers={"received_at": 1767312000.5, **foreign}, type="TYPING_START", message_id="s:9"
    )
    await desk.channel.default_exchange.publish(message, desk.origin)
    queue = await desk.channel.get_queue(desk.origin)
    for _ in range(2):  # one more than the delivery limit
        await eventually(lambda: desk.ready_count(desk.origin))
        await (await queue.get()).nack(requeue=True)
    await eventually(lambda: desk.ready_count(desk.dead_queue))

    (letter,) = (await desk.said("list"))["letters"]
    said = await desk.said("retry", "--all", "--yes")

    assert (letter["origin"], letter["reason"]) == (desk.origin, "RabbitMQ moved it here: delivery_limit")
    assert said["sent"] == 1
    (again,) = await desk.take(desk.origin)
    expected = {"received_at": 1767312000.5, "retried": 1, **foreign, "half": "?"}
    assert (again.message_id, again.headers) == ("s:9", expected)


async def test_purge_throws_away_what_is_meant_and_nothing_else(desk: Desk) -> None:
    await desk.bury(1, received_at=time.time() - 8 * 86_400)
    await desk.bury(2, "TYPING_START", received_at=time.time())
    await desk.bury(3, received_at=time.time())
    await desk.bury(4, received_at="unknown")

    unasked, _, err = await desk.dead("purge", "--all")
    assert (unasked, err) == (2, "gw-ctl: nobody can be asked here whether to throw letters away: add --yes\n")
    assert (await desk.said("purge", "--older-than", "7d", "--yes"))["purged"] == 1
    assert (await desk.said("purge", "--type", "TYPING_START", "--yes"))["left"] == 2
    assert (await desk.said("purge", "s:3", "--yes")) == {"group": "g", "purged": 1, "left": 1, "problems": []}
    _, out, _ = await desk.dead("purge", "--all", "--yes")
    assert out == "purged 1, left 0 in group g\n"
    assert await desk.take(desk.origin) == []


@pytest.mark.parametrize(("answer", "left"), [("n", 2), ("y", 0)])
async def test_on_a_terminal_purge_says_how_many_and_asks(desk: Desk, answer: str, left: int) -> None:
    await desk.bury(1)
    await desk.bury(2)
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        COMMAND, "dead", "purge", "--all", "--group", GROUP,
        env=desk.environment, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.write(ours, f"{answer}\n".encode())
    async with asyncio.timeout(TIMEOUT_S):
        await process.wait()
    said = os.read(ours, 10_000).decode()
    os.close(ours)
    os.close(theirs)

    assert "throw 2 dead letters of group g away?" in said
    assert process.returncode == (1 if answer == "n" else 0)
    assert await desk.ready_count(desk.dead_queue) == left


async def test_an_empty_queue_is_no_error_and_an_unknown_group_is_one_sentence(desk: Desk) -> None:
    assert await desk.said("list") == {"group": "g", "count": 0, "letters": []}
    assert (await desk.said("retry", "--all", "--yes"))["sent"] == 0
    assert (await desk.said("purge", "--all", "--yes"))["purged"] == 0

    code, out, err = await desk.dead("list", "--group", "nobody")

    assert (code, out) == (1, "")
    assert err.startswith("gw-ctl: group 'nobody' has no dead letters' queue")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("show", "12"), "'12' is no message id"),
        (("retry", "s:x"), "'s:x' is no message id"),
        (("list", "--limit", "-1"), "--limit: Input should be greater than or equal to 1"),
        (("retry", "--all", "--yes", "--limit", "0"), "--limit: Input should be greater than or equal to 1"),
        (("purge", "--older-than", "7x", "--yes"), "'7x' is no duration"),
        (("retry", "--yes"), "say which letters"),
        (("purge", "s:1", "--all", "--yes"), "contradict each other"),
        (("list", "--type", "message"), "'message' is no event type"),
        (("list", "--group", "a.b"), "'a.b' is not a name"),
    ],
)
async def test_bad_input_is_one_sentence_and_exit_code_2(desk: Desk, arguments: tuple[str, ...], sentence: str) -> None:
    code, out, err = await desk.dead(*arguments)

    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


async def test_two_readers_do_not_mix_up_the_letters(desk: Desk) -> None:
    for number in range(4):
        await desk.bury(number)
    link = Link(Broker(desk.broker_url), name="test")
    await link.open(timeout_s=10)
    async with DeadLetterReader(link, desk.names, GROUP) as reader:
        taken = [held.letter.message_id async for held in reader]
        code, _, err = await desk.dead("list")
    await link.close()

    assert taken == [f"s:{n}" for n in range(4)]
    assert (code, err) == (
        1,
        "gw-ctl: another gw-ctl reads the dead letters of group 'g': try again when it has ended\n",
    )
    assert await desk.numbers(desk.dead_queue) == list(range(4))


async def test_more_letters_than_one_channel_holds_keep_their_order_while_some_are_sent_again(desk: Desk) -> None:
    count = 2 * WINDOW + 100
    for number in range(count):
        await desk.bury(number, "TYPING_START" if number % 3 == 0 else "MESSAGE_CREATE")
    assert len((await desk.said("list", "--limit", str(count)))["letters"]) == count
    assert len((await desk.said("list", "--limit", "5"))["letters"]) == 5

    said = await desk.said("retry", "--type", "TYPING_START", "--yes")

    assert said["sent"] == len(range(0, count, 3))
    assert await desk.numbers(desk.origin) == list(range(0, count, 3))
    assert await desk.numbers(desk.dead_queue) == [number for number in range(count) if number % 3]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_a_retry_that_is_interrupted_or_killed_loses_nothing(desk: Desk, number: signal.Signals) -> None:
    count = 600
    for one in range(count):
        await desk.bury(one)
    process = await desk.start("retry", "--all", "--yes", "--group", GROUP)

    async def is_under_way() -> bool:
        return await desk.ready_count(desk.origin) > 20

    await eventually(is_under_way)
    process.send_signal(number)
    async with asyncio.timeout(TIMEOUT_S):
        out, err = await process.communicate()
    await eventually(lambda: _is_unlocked(desk))

    async def are_all_back() -> bool:
        return await desk.ready_count(desk.origin) + await desk.ready_count(desk.dead_queue) >= count

    await eventually(are_all_back)
    sent, left = await desk.numbers(desk.origin), await desk.numbers(desk.dead_queue)

    assert left, "it was over before the signal came"
    assert sorted({*sent, *left}) == list(range(count))
    assert sent == sorted(sent)
    if number is signal.SIGINT:
        assert process.returncode == 130, err
        assert out.decode() == f"sent {len(sent)}, left {len(left)} in group g\n"
        assert len(sent) + len(left) == count
        assert left == sorted(left)


async def _is_unlocked(desk: Desk) -> bool:
    """Whether the reader's connection is gone for the broker too, and with it what it held."""
    try:
        async with await aio_pika.connect(desk.broker_url) as connection:
            await (await connection.channel()).declare_queue(f"{desk.dead_queue}.reader", passive=True)
    except aio_pika.exceptions.ChannelNotFoundEntity:
        return True
    except aio_pika.exceptions.ChannelClosed:  # locked
        return False
    return False


async def test_promise_5_what_a_bot_could_not_handle_is_handled_once_after_the_mend(
    fleet: consume_rig.Fleet, observer: AbstractChannel, tmp_path: Path
) -> None:
    async with consume_rig.rig(fleet, observer, tmp_path) as rig:
        desk = Desk(fleet.broker_url, fleet.names, observer)
        broken = await rig.started(
            GW_ENTRYPOINT="tests.wire.dead_letter_bots:broken", GW_ENTRYPOINT_DIR=str(Path.cwd())
        )
        for content in ("even", "odd", "even"):
            await rig.say(content)
        await rig.until_recorded("message", count=2)
        await eventually(lambda: desk.ready_count(rig.names.dead(rig.group)))
        (letter,) = (await desk.said("list", "--group", rig.group))["letters"]
        await broken.stop()
        await rig.started(GW_ENTRYPOINT="tests.wire.dead_letter_bots:mended", GW_ENTRYPOINT_DIR=str(Path.cwd()))

        said = await desk.said("retry", letter["message_id"], "--group", rig.group)
        (entry,) = await rig.until_recorded("message", content="odd")
        await rig.say("last")
        await rig.until_recorded("message", content="last")

        assert "cannot handle odd messages" in letter["reason"]
        assert (said["sent"], said["left"]) == (1, 0)
        assert entry["seq"] == 2
        assert len(rig.recorded("message", content="odd")) == 1
        assert await desk.ready_count(rig.names.dead(rig.group)) == 0


async def test_a_letter_of_a_partition_is_handled_after_the_group_got_fewer(
    fleet: consume_rig.Fleet, observer: AbstractChannel, tmp_path: Path
) -> None:
    async with consume_rig.rig(fleet, observer, tmp_path) as rig:
        desk = Desk(fleet.broker_url, fleet.names, observer)
        layout = {"GW_ORDERING": "guild", "GW_ENTRYPOINT_DIR": str(Path.cwd())}
        bots = "tests.wire.dead_letter_bots"
        broken = await rig.started(**layout, GW_PARTITIONS="2", GW_ENTRYPOINT=f"{bots}:broken")
        for shard in range(2):
            await rig.say("odd", shard=shard, headers=plain_headers(shard))

        async def all_are_dead() -> bool:
            return await desk.ready_count(rig.names.dead(rig.group)) == 2

        await eventually(all_are_dead)
        letters = (await desk.said("list", "--group", rig.group))["letters"]
        await broken.stop()
        await rig.started(**layout, GW_PARTITIONS="1", GW_ENTRYPOINT=f"{bots}:mended")

        said = await desk.said("retry", "--all", "--yes", "--group", rig.group)
        await rig.until_recorded("message", content="odd", count=2)

        assert {letter["origin"] for letter in letters} == {rig.names.partition(rig.group, n) for n in range(2)}
        assert (said["sent"], said["left"]) == (2, 0)
        assert len(rig.recorded("message", content="odd")) == 2
        assert await desk.ready_count(rig.names.dead(rig.group)) == 0
        for number in range(2):
            await observer.queue_delete(rig.names.partition(rig.group, number))
