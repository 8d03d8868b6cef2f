"""`logs` of a bot means what it means to hikari's GatewayBot; secrets stay hidden."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from consumers import Bot
from eventbus.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "NDE5NDMwNDAwMDAwNzY5MjMy.simulated.bot-token"


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root = logging.root
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("aio_pika", "aiormq", "asyncio")}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, one in levels.items():
        logging.getLogger(name).setLevel(one)


def bot(**options: Any) -> Bot:
    """A bot in a process where nothing but pytest has set logs up."""
    logging.root.handlers[:] = [one for one in logging.root.handlers if "pytest" not in type(one).__module__]
    return Bot("amqp://user:hidden-word@127.0.0.1/", TOKEN, **options)


@pytest.mark.parametrize(("logs", "level"), [("DEBUG", 10), (30, 30), ("TRACE_HIKARI", 5)])
def test_a_level_sets_logs_up_at_once_and_hides_secrets(
    logs: Any, level: int, capsys: pytest.CaptureFixture[str]
) -> None:
    bot(logs=logs)
    assert logging.root.level == level
    logging.getLogger("mine").error("token %s password %s", TOKEN, "hidden-word")
    said = capsys.readouterr().err
    assert "token *** password ***" in said


@pytest.mark.parametrize("options", [{}, {"logs": None}], ids=["not given", "None"])
def test_without_a_choice_the_constructor_leaves_logs_alone(options: dict[str, Any]) -> None:
    bot(**options)
    assert logging.root.handlers == []


def test_handlers_of_ones_own_stay() -> None:
    own = logging.NullHandler()
    logging.root.addHandler(own)
    bot(logs="DEBUG")
    assert logging.root.handlers == [own]


def test_a_dict_is_a_dict_config() -> None:
    bot(logs={"version": 1, "incremental": True, "loggers": {"mine": {"level": "ERROR"}}})
    assert logging.getLogger("mine").level == logging.ERROR
    assert len(logging.root.handlers) == 1
    logging.root.handlers[:] = []
    handlers = {"null": {"class": "logging.NullHandler"}}
    bot(logs={"version": 1, "disable_existing_loggers": False, "handlers": handlers, "root": {"handlers": ["null"]}})
    assert [type(one) for one in logging.root.handlers] == [logging.NullHandler]


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "path"])
def test_a_file_is_a_file_config(kind: Any, tmp_path: Path) -> None:
    file = tmp_path / "logs.ini"
    file.write_text(
        "[loggers]\nkeys=root\n[handlers]\nkeys=null\n[formatters]\nkeys=\n"
        "[logger_root]\nlevel=ERROR\nhandlers=null\n[handler_null]\nclass=NullHandler\nargs=()\n"
    )
    before = {
        name: one.disabled for name, one in logging.Logger.manager.loggerDict.items() if isinstance(one, logging.Logger)
    }
    bot(logs=kind(file))
    for name, is_disabled in before.items():  # fileConfig disables all others, as it does for hikari
        logging.getLogger(name).disabled = is_disabled
    assert (logging.root.level, type(logging.root.handlers[0])) == (logging.ERROR, logging.NullHandler)


@pytest.mark.parametrize("logs", ["LOUD", {"version": 7}, {"version": 1, "handlers": {"x": {"class": "no.such"}}}])
def test_a_choice_that_cannot_be_used_is_a_sentence(logs: Any) -> None:
    with pytest.raises(ConfigurationError, match="give a level such as 'INFO'"):
        bot(logs=logs)


def test_the_banner_is_printed_only_if_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    bot()
    assert capsys.readouterr().out == ""
    bot(banner="hikari", allow_color=False)
    assert "hikari" in capsys.readouterr().out
