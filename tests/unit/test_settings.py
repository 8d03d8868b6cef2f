"""Settings: where each value comes from, all problems at once, and never a secret in a message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from eventbus.errors import EXIT_USAGE, ConfigurationError
from eventbus.names import is_name
from eventbus.settings import build, command, run_command, settings_table
from gateway_workers.inflate import Compression
from gateway_workers.settings import WorkerSettings, make_worker_id

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., WorkerSettings]

TOKEN = "a.bot.token"
OURS = ("GW_", "DISCORD_", "AMQP_", "LOG_LEVEL", "ORCHESTRATOR_")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the developer's own, and what `.env` brings is gone after the test."""
    for name in [name for name in os.environ if name.startswith(OURS)]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The settings that `gw-worker` would get from these arguments; SystemExit as the process would end."""

    def start(*arguments: str) -> WorkerSettings:
        got: list[WorkerSettings] = []
        monkeypatch.setattr(sys, "argv", ["gw-worker", *arguments])
        with pytest.raises(SystemExit) as ended:
            run_command(command(WorkerSettings, got.append), name="gw-worker")
        if ended.value.code != 0:
            raise ended.value
        return got[0]

    return start


def problems(**values: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        build(WorkerSettings, {"token": TOKEN, **values})
    return caught.value.problems


# Where a value comes from


def test_the_default_holds_when_nothing_is_given(run: Run) -> None:
    os.environ["DISCORD_TOKEN"] = TOKEN
    given_ = run()
    assert (given_.shards, given_.capacity, given_.namespace, given_.compression) == ("auto", None, "gw", "zstd")
    assert given_.transport_compression is Compression.ZSTD


def test_env_file_then_environment_then_flag(run: Run) -> None:
    Path(".env").write_text(f"DISCORD_TOKEN={TOKEN}\nGW_SHARDS=1\nGW_NAMESPACE=file\nGW_CAPACITY=5\n")
    os.environ["GW_NAMESPACE"] = "environment"
    os.environ["GW_CAPACITY"] = "6"
    given_ = run("--capacity", "7")
    assert (given_.shards, given_.namespace, given_.capacity) == ("1", "environment", 7)


def test_an_alias_in_the_environment_comes_before_the_main_name_in_the_env_file(run: Run) -> None:
    Path(".env").write_text(f"DISCORD_TOKEN={TOKEN}\nGW_LOG_LEVEL=ERROR\n")
    os.environ["LOG_LEVEL"] = "DEBUG"

    assert run().log_level == "DEBUG"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sources=st.lists(st.sampled_from(["flag", "short", "environment", "file"]), unique=True),
    numbers=st.permutations([1, 2, 3, 4]),
)
def test_the_strongest_source_of_a_value_wins(run: Run, sources: list[str], numbers: list[int]) -> None:
    values = dict(zip(["flag", "short", "environment", "file"], map(str, numbers), strict=True))
    for name in ("GW_SHARDS", "DISCORD_TOKEN"):
        os.environ.pop(name, None)
    lines = [f"DISCORD_TOKEN={TOKEN}"] + ([f"GW_SHARDS={values['file']}"] if "file" in sources else [])
    Path(".env").write_text("\n".join(lines))
    if "environment" in sources:
        os.environ["GW_SHARDS"] = values["environment"]
    arguments = ["--shards", values["flag"]] if "flag" in sources else []
    if "short" in sources and "flag" not in sources:
        arguments = ["-s", values["short"]]
    strongest = next((one for one in ("flag", "short", "environment", "file") if one in sources), None)
    assert run(*arguments).shards == (values[strongest] if strongest else "auto")


@pytest.mark.parametrize(
    ("name", "alias", "field", "value"),
    [
        ("DISCORD_TOKEN", "GW_TOKEN", "token", "another.bot.token"),
        ("AMQP_URL", "GW_AMQP_URL", "amqp_url", "amqp://u:p@elsewhere/"),
        ("GW_LOG_LEVEL", "LOG_LEVEL", "log_level", "DEBUG"),
        ("GW_CA_CERT", "ORCHESTRATOR_CA_CERT", "ca_cert", "/ca.pem"),
    ],
)
def test_an_alias_is_as_good_as_the_name_which_wins_over_it(
    run: Run, name: str, alias: str, field: str, value: str
) -> None:
    os.environ["DISCORD_TOKEN"] = TOKEN
    os.environ.pop(name, None)
    os.environ[alias] = value
    got = getattr(run(), field)
    assert (got.get_secret_value() if isinstance(got, SecretStr) else got) == value
    os.environ[name] = value
    os.environ[alias] = "WARNING" if field == "log_level" else "amqp://alias/"
    got = getattr(run(), field)
    assert (got.get_secret_value() if isinstance(got, SecretStr) else got) == value


def test_an_empty_variable_is_as_good_as_none(run: Run) -> None:
    os.environ.update({"DISCORD_TOKEN": TOKEN, "GW_CAPACITY": "", "GW_SHARDS": "", "AMQP_URL": ""})
    given_ = run()
    assert (given_.capacity, given_.shards) == (None, "auto")


# What is wrong


def test_all_problems_are_told_together(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    os.environ.update({"GW_LOG_FORMAT": "xml", "AMQP_URL": "http://host"})
    with pytest.raises(SystemExit) as ended:
        run("--shards", "9-3", "--capacity", "0", "--compression", "rar", "--namespace", "a.b", "--log-level", "loud")
    assert ended.value.code == EXIT_USAGE
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("gw-worker: --") for line in lines)
    assert {line.split()[1] for line in lines} == {
        "--amqp-url",
        "--namespace",
        "--log-level",
        "--log-format",
        "--token",
        "--shards",
        "--capacity",
        "--compression",
    }


wrong_values = {
    "amqp_url": st.sampled_from(
        ["http://hush-hush@host/", "amqp://u:hush-hush@", "amqp://u:hush-hush@host:port/", "x"]
    ),
    "token": st.sampled_from(["hush-hush with space", "hush-hush\ttab", "", " \n"]),
    "namespace": st.sampled_from(["", "a b", "a.b", "x" * 65]),
    "connect_timeout_s": st.sampled_from(["0", "-1", "soon", "nan", "inf", "9999"]),
    "log_level": st.sampled_from(["", "LOUD"]),
    "log_format": st.sampled_from(["", "xml"]),
    "rest_url": st.sampled_from(["", "discord.com", "ftp://discord.com", "https://"]),
    "shards": st.sampled_from(["", "a", "3-1", "100000"]),
    "capacity": st.sampled_from(["0", "-1", "many", "1.5", "100001"]),
    "worker_id": st.sampled_from(["", "a.b", "x" * 65]),
    "compression": st.sampled_from(["", "gzip"]),
    "window_count": st.sampled_from(["0", "-5", "x"]),
    "window_bytes": st.sampled_from(["0", "1023", "x"]),
}


@given(st.data())
def test_each_wrong_value_is_one_problem_that_names_its_flag_and_variable(data: st.DataObject) -> None:
    names = data.draw(st.sets(st.sampled_from(sorted(wrong_values)), min_size=1))
    told = problems(**{name: data.draw(wrong_values[name]) for name in names})
    extras = {name: WorkerSettings.model_fields[name].json_schema_extra for name in names}
    expected = {f"{extra['flags'][0]} ({extra['env'][0]}): " for extra in extras.values() if isinstance(extra, dict)}  # type: ignore[index]
    assert {problem[: problem.index("): ") + 3] for problem in told} == expected
    assert len(told) == len(names)
    assert "hush-hush" not in "".join(told)
    assert not any("\n" in problem or "Value error" in problem for problem in told)


def test_a_missing_token_says_what_to_give() -> None:
    with pytest.raises(ConfigurationError) as caught:
        build(WorkerSettings, {})
    assert caught.value.problems == (
        "--token (DISCORD_TOKEN) is missing: give the bot token; better given by the environment",
    )


@pytest.mark.parametrize("value", ["0-3", "auto", "0,3,7-9"])
def test_a_good_range_is_kept_as_written(value: str) -> None:
    assert build(WorkerSettings, {"token": TOKEN, "shards": value}).shards == value


def test_secrets_show_as_stars_in_every_form() -> None:
    made = build(WorkerSettings, {"token": "hush-hush", "amqp_url": "amqp://u:hush-hush@host/"})
    assert "hush-hush" not in f"{made!r} {made} {made.model_dump()}"
    assert made.token.get_secret_value() == "hush-hush"


def test_a_pasted_token_loses_the_white_space_around_it() -> None:
    assert build(WorkerSettings, {"token": f" {TOKEN}\n"}).token.get_secret_value() == TOKEN


@pytest.mark.parametrize("form", [["--token", "hush-hush.x.y"], ["--token=hush-hush.x.y"]])
def test_a_token_on_the_command_line_is_moved_off_it_and_works(form: list[str], tmp_path: Path) -> None:
    script = tmp_path / "tool.py"
    script.write_text(
        "from pathlib import Path\n"
        "from eventbus.settings import command, run_command\n"
        "from gateway_workers.settings import WorkerSettings\n"
        "def run(settings):\n"
        "    print(settings.token.get_secret_value(), settings.shards)\n"
        "    print(Path('/proc/self/cmdline').read_bytes())\n"
        "run_command(command(WorkerSettings, run), name='tool')\n"
    )
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "DISCORD_TOKEN": "weaker.than.flag"}
    told = subprocess.run(
        [sys.executable, str(script), "--shards", "3", *form],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    values, command_line = told.splitlines()
    assert values == "hush-hush.x.y 3"
    assert "hush-hush" not in command_line


# What is derived


def test_two_runs_of_one_worker_have_names_of_their_own() -> None:
    one, other = make_worker_id("shelf"), make_worker_id("shelf")
    assert one != other
    assert one.startswith("shelf-")


@given(st.none() | st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_a_worker_name_is_one_that_the_broker_and_the_coordinator_take(given_: str | None) -> None:
    assert is_name(make_worker_id(given_))


def test_the_table_of_settings_shows_every_setting_once_and_no_secret() -> None:
    table = settings_table({"gw-worker": WorkerSettings})
    rows = [line for line in table.splitlines() if line.startswith("| `--")]
    assert len(rows) == len(WorkerSettings.model_fields)
    assert all("all" in row for row in rows)
    assert "guest:guest" not in table
    assert "`DISCORD_TOKEN`, `GW_TOKEN`" in table
