"""Logs: one line for each record, with its fields, and never a secret."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import time
from typing import TYPE_CHECKING

import pytest

from eventbus import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Configure = Callable[..., io.StringIO]

SECRET = "MTk4NjIy.hush-hush"


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """`logs.configure`, onto a text; the former logging comes back at the end."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    noisy = {name: logging.getLogger(name).level for name in ("aio_pika", "aiormq", "aiormq.connection", "asyncio")}

    def start(log_format: str = "text", *, level: str = "INFO", secrets: tuple[str, ...] = ()) -> io.StringIO:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure(level, log_format, secrets=secrets)
        return stream

    yield start
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, former in noisy.items():
        logging.getLogger(name).setLevel(former)


log = logging.getLogger("tests.logs")


def test_a_line_of_text_has_time_level_message_and_fields(configure: Configure) -> None:
    stream = configure()
    log.info("connected", extra={"action": "ready", "shard": 3, "session": "abc"})
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} INFO    connected shard=3 session=abc\n", stream.getvalue())


def test_a_json_line_has_everything_apart(configure: Configure) -> None:
    stream = configure("json")
    log.warning("lost %s", "it", extra={"action": "lost", "shard": 3, "reason": ValueError("why")})
    entry = json.loads(stream.getvalue())
    assert entry.pop("at") == pytest.approx(time.time(), abs=60)
    assert entry == {
        "level": "WARNING",
        "logger": "tests.logs",
        "message": "lost it",
        "action": "lost",
        "shard": 3,
        "reason": "why",
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_secret_never_stands_in_a_line(configure: Configure, log_format: str) -> None:
    stream = configure(log_format, secrets=(SECRET, "pass word"))
    log.info("token %s", SECRET, extra={"url": f"amqp://u:pass word@host/{SECRET}"})
    try:
        raise ValueError(f"refused {SECRET}")  # noqa: TRY301 - the traceback is what is looked at
    except ValueError:
        log.exception("failed")
    assert SECRET not in stream.getvalue()
    assert "pass word" not in stream.getvalue()
    assert "token ***" in stream.getvalue()


@pytest.mark.parametrize("secret", ['quo"ted-secret', "back\\slash-secret", "tab\tsecret", "sécrèt-ünïcode"])
def test_a_secret_that_json_writes_in_another_way_is_hidden_too(configure: Configure, secret: str) -> None:
    stream = configure("json", secrets=(secret,))
    log.info("token %s", secret)
    assert json.loads(stream.getvalue())["message"] == "token ***"


def test_a_secret_in_another_secret_leaves_nothing_of_either(configure: Configure) -> None:
    stream = configure(secrets=("abcd", "abcdefgh"))
    log.info("token abcdefgh")
    assert "efgh" not in stream.getvalue()


def test_no_secret_at_all_hides_nothing(configure: Configure) -> None:
    stream = configure(secrets=("", "ab"))
    log.info("abba")
    assert "INFO    abba" in stream.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_what_others_write_into_a_field_makes_no_line_of_its_own(configure: Configure, log_format: str) -> None:
    stream = configure(log_format)
    log.info("closed", extra={"reason": "bye\n12:00:00.000 ERROR   forged"})
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(("level", "count"), [("DEBUG", 3), ("INFO", 2), ("WARNING", 1), ("ERROR", 0)])
def test_the_level_says_what_is_written(configure: Configure, level: str, count: int) -> None:
    stream = configure(level=level)
    log.debug("one")
    log.info("two")
    log.warning("three")
    assert stream.getvalue().count("\n") == count


def test_libraries_do_not_chatter(configure: Configure) -> None:
    stream = configure(level="DEBUG")
    logging.getLogger("aiormq.connection").warning("chatter")
    logging.getLogger("asyncio").info("chatter")
    logging.getLogger("asyncio").warning("trouble")
    assert "chatter" not in stream.getvalue()
    assert "trouble" in stream.getvalue()


def test_configured_twice_each_record_is_written_once(configure: Configure) -> None:
    configure()
    stream = configure()
    log.info("once")
    assert stream.getvalue().count("once") == 1
