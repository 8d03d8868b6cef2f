"""Settings, each written once: flags, environment names, `--help` and the README's table come from the models.

A command's settings are a pydantic model whose fields are made with `setting()`. `command()` turns the model into a
typer command. Precedence: flag, environment (`.env` included), default. All problems are reported together.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import typer
from dotenv import dotenv_values, find_dotenv
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from typer.main import get_command

from eventbus.errors import ConfigurationError
from eventbus.names import is_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

S = TypeVar("S", bound="Settings")


def setting(
    default: Any = ...,  # noqa: ANN401 - any pydantic default
    *,
    help: str,  # noqa: A002 - the word that click and typer use
    flags: Sequence[str],
    env: Sequence[str],
    secret: bool = False,
    shown_default: str | None = None,
    **constraints: Any,  # noqa: ANN401 - pydantic's own
) -> Any:  # noqa: ANN401 - as pydantic.Field
    """A field of a settings model: its flags, its environment names (first the main one, then aliases), its help."""
    extra: dict[str, Any] = {"flags": list(flags), "env": list(env), "secret": secret, "shown_default": shown_default}
    return Field(default, description=help, json_schema_extra=extra, **constraints)


class Settings(BaseModel):
    """Base of every command's settings: the broker, the namespace, logs."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    amqp_url: SecretStr = setting(
        SecretStr("amqp://guest:guest@127.0.0.1:5672/"),
        help="RabbitMQ's URL; amqps:// for TLS",
        flags=["--amqp-url"],
        env=["AMQP_URL", "GW_AMQP_URL"],
        secret=True,
        shown_default="amqp://guest:***@127.0.0.1:5672/",
    )
    ca_cert: str | None = setting(
        None, help="CA certificate for amqps://", flags=["--ca-cert"], env=["GW_CA_CERT", "ORCHESTRATOR_CA_CERT"]
    )
    client_cert: str | None = setting(
        None, help="client certificate for amqps://", flags=["--client-cert"], env=["GW_CLIENT_CERT"]
    )
    private_key: str | None = setting(
        None,
        help="private key of the client certificate",
        flags=["--private-key"],
        env=["GW_PRIVATE_KEY", "ORCHESTRATOR_PRIVATE_KEY"],
    )
    namespace: str = setting(
        "gw",
        help="prefix of everything on the broker; one per bot",
        flags=["--namespace"],
        env=["GW_NAMESPACE"],
    )
    connect_timeout_s: float = setting(
        30.0,
        help="seconds to wait at start for the broker and the coordinator",
        flags=["--connect-timeout"],
        env=["GW_CONNECT_TIMEOUT"],
        gt=0,
        le=3600,
    )
    log_level: str = setting(
        "INFO",
        help="DEBUG, INFO, WARNING or ERROR",
        flags=["--log-level", "-l"],
        env=["GW_LOG_LEVEL", "LOG_LEVEL"],
    )
    log_format: str = setting("text", help="text or json", flags=["--log-format"], env=["GW_LOG_FORMAT"])

    @field_validator("amqp_url")
    @classmethod
    def _amqp_url_is_one(cls, value: SecretStr) -> SecretStr:
        check_url(value.get_secret_value(), ("amqp", "amqps"), example="amqp://user:password@host:5672/")
        return value

    @field_validator("namespace")
    @classmethod
    def _namespace_is_a_name(cls, value: str) -> str:
        return check_name(value)

    @field_validator("log_level")
    @classmethod
    def _log_level_is_known(cls, value: str) -> str:
        return check_choice(value.upper(), ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))

    @field_validator("log_format")
    @classmethod
    def _log_format_is_known(cls, value: str) -> str:
        return check_choice(value.lower(), ("text", "json"))


class BotSettings(Settings):
    """Settings of a process that talks to Discord."""

    token: SecretStr = setting(
        help="the bot token; better given by the environment",
        flags=["--token"],
        env=["DISCORD_TOKEN", "GW_TOKEN"],
        secret=True,
    )
    rest_url: str = setting(
        "https://discord.com/api/v10", help="Discord's REST API", flags=["--rest-url"], env=["GW_REST_URL"]
    )

    @field_validator("token")
    @classmethod
    def _token_is_one(cls, value: SecretStr) -> SecretStr:
        text = value.get_secret_value().strip()
        if not text or any(character.isspace() for character in text):
            raise ValueError("is empty or has white space in it: copy it again from Discord's developer portal")
        return SecretStr(text)

    @field_validator("rest_url")
    @classmethod
    def _rest_url_is_one(cls, value: str) -> str:
        check_url(value, ("http", "https"), example="https://discord.com/api/v10")
        return value.rstrip("/")


def check_url(value: str, schemes: Sequence[str], *, example: str) -> None:
    """Raises ValueError, without the URL's password, if `value` is not a URL with one of `schemes` and a host."""
    try:
        parts = urlsplit(value)
        complete = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        complete = False
    if not complete:
        raise ValueError(f"is not a URL that starts with {' or '.join(f'{s}://' for s in schemes)}: write {example}")


def check_name(value: str) -> str:
    """`value` if it may be a namespace, group or process id; else ValueError."""
    if not is_name(value):
        raise ValueError(f"{value!r} is not a name: use 1 to 64 letters, digits, - and _")
    return value


def check_choice(value: str, choices: Sequence[str]) -> str:
    """`value` if it is one of `choices`; else ValueError."""
    if value not in choices:
        raise ValueError(f"{value!r} is unknown: use {', '.join(choices[:-1])} or {choices[-1]}")
    return value


def build(model: type[S], values: Mapping[str, Any]) -> S:
    """The settings from `values` (field name → text or None for the default).

    Raises ConfigurationError with one sentence for each problem; secrets are not repeated in them.
    """
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return model(**given)
    except ValidationError as error:
        problems = [_problem(model, one) for one in error.errors(include_url=False)]
        raise ConfigurationError(problems) from None


def _problem(model: type[Settings], error: Mapping[str, Any]) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    message = str(error["msg"]).removeprefix("Value error, ")
    if name not in model.model_fields:
        return f"{name}: there is no such setting" if error["type"] == "extra_forbidden" else message
    extra = _extra(model, name)
    names = [*extra["flags"][:1], *extra["env"][:1]]
    where = f"{names[0]} ({names[1]})" if names[1:] else str(names[0])
    if error["type"] == "missing":
        return f"{where} is missing: give {model.model_fields[name].description}"
    return f"{where}: {message}"


def _extra(model: type[Settings], name: str) -> dict[str, Any]:
    extra = model.model_fields[name].json_schema_extra
    if not isinstance(extra, dict):
        raise TypeError(f"{model.__name__}.{name} was not made with setting()")
    return dict(extra)


def command(model: type[S], run: Callable[[S], None]) -> Callable[..., None]:
    """A typer command with one option for each field of `model`; `run` gets the settings, all problems reported."""

    def entry(**values: Any) -> None:  # noqa: ANN401 - typer gives texts
        run(build(model, values))

    parameters, annotations = [], {}
    for name in model.model_fields:
        switch = model.model_fields[name].annotation is bool
        annotation: Any = Annotated[bool if switch else str | None, _option(model, name)]
        default = False if switch else None
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )
        annotations[name] = annotation
    entry.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    entry.__annotations__ = annotations
    entry.__doc__ = run.__doc__
    entry.settings = model  # type: ignore[attr-defined]  # what `run_command` reads `.env` for
    return entry


def _option(model: type[Settings], name: str) -> Any:  # noqa: ANN401 - typer's OptionInfo
    field, extra = model.model_fields[name], _extra(model, name)
    shown = extra["shown_default"] or (
        str(field.default) if field.default not in (None, ...) and not field.is_required() else False
    )
    return typer.Option(*extra["flags"], envvar=extra["env"], help=field.description, show_default=shown or False)


def run_command(app: typer.Typer | Callable[..., None], *, name: str) -> None:
    """Run a typer command as a process: `.env` loaded, secrets moved off the command line, one sentence per error."""
    if not isinstance(app, typer.Typer):
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(name)(app)
        app = single
    _load_env_file([getattr(callback, "settings", None) for callback in _callbacks(app)])
    _move_secrets_to_environment(sys.argv[1:])
    try:
        get_command(app)(prog_name=name)
    except ConfigurationError as error:
        for problem in error.problems:
            sys.stderr.write(f"{name}: {problem}\n")
        sys.exit(error.exit_code)


def _callbacks(app: typer.Typer) -> list[Callable[..., Any] | None]:
    groups = [group.typer_instance for group in app.registered_groups if group.typer_instance is not None]
    return [info.callback for info in app.registered_commands] + [one for group in groups for one in _callbacks(group)]


def _load_env_file(models: Sequence[type[Settings] | None]) -> None:
    """Take from `.env` what the environment does not say, under whatever alias it says it."""
    values = dotenv_values(find_dotenv(usecwd=True))
    for model in models:
        for name in model.model_fields if model else ():
            aliases = _extra(model, name)["env"] if model else ()
            if any(os.environ.get(alias) for alias in aliases):
                for alias in aliases:
                    values.pop(alias, None)
    for variable, value in values.items():
        if value is not None:
            os.environ.setdefault(variable, value)


def _move_secrets_to_environment(arguments: list[str]) -> None:
    """Start again without `--token …` and `--amqp-url …`, so that no process list shows them for long."""
    secret_flags = {"--token": "DISCORD_TOKEN", "--amqp-url": "AMQP_URL"}
    kept: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        flag, equals, value = argument.partition("=")
        if flag not in secret_flags:
            kept.append(argument)
            continue
        text = value if equals else next(rest, None)
        if text is None:
            return  # click says what is missing
        os.environ[secret_flags[flag]] = text
    if len(kept) != len(arguments):
        os.execv(sys.executable, [sys.executable, sys.argv[0], *kept])  # noqa: S606 - ourselves again


def settings_table(commands: Mapping[str, type[Settings]]) -> str:
    """The README's table: each setting once, with the commands that know it."""
    rows: dict[str, tuple[str, str, str, str, list[str]]] = {}
    for command_name, model in commands.items():
        for name, field in model.model_fields.items():
            extra = _extra(model, name)
            shown = extra["shown_default"] or ("needed" if field.is_required() else _default_text(field.default))
            flags = ", ".join(f"`{flag}`" for flag in extra["flags"])
            env = ", ".join(f"`{variable}`" for variable in extra["env"])
            key = f"{name} {field.description}"
            rows.setdefault(key, (flags, env, shown, field.description or "", []))[4].append(command_name)
    lines = ["| flag | environment | default | meaning | of |", "|---|---|---|---|---|"]
    for flags, env, shown, meaning, names in rows.values():
        of = "all but gw-sim" if len(names) == len(commands) else ", ".join(names)
        cells = [cell.replace("|", r"\|") for cell in (flags, env, shown, meaning, of)]
        lines.append("| " + " | ".join(cells).replace("|  |", "| |") + " |")
    return "\n".join(lines) + "\n"


def _default_text(default: object) -> str:
    return "" if default in (None, "") else f"`{default}`"
