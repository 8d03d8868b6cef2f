"""Settings of a consumer: of a `Bot` in a script of one's own, and of `gw-consume`."""

from __future__ import annotations

import os
from typing import Any

from pydantic import SecretStr, field_validator

from consumers.failure_policy import MAX_ATTEMPTS, OnError
from eventbus.settings import BotSettings, check_choice, check_name, setting

MAX_PREFETCH = 10_000
MAX_PROCESSES = 256
MAX_DELIVERIES = 20  # where the queue's own limit, the backstop, begins


class GroupSettings(BotSettings):
    """What a bot in a consumer group needs."""

    group: str = setting(
        "main",
        help="consumer group: the processes of one group share the work",
        flags=["--group"],
        env=["GW_GROUP"],
    )
    prefetch: int = setting(
        100,
        help="deliveries that a process handles at once, in each lane",
        flags=["--prefetch"],
        env=["GW_PREFETCH"],
        ge=1,
        le=MAX_PREFETCH,
    )
    drain_timeout_s: float = setting(
        30.0,
        help="seconds that running handlers get to end when the process stops",
        flags=["--drain-timeout"],
        env=["GW_DRAIN_TIMEOUT"],
        ge=0,
        le=3600,
    )

    on_error: OnError = setting(
        OnError.DEAD_LETTER,
        help="what becomes of a dispatch of which a listener raised: dead-letter, retry or ack",
        flags=["--on-error"],
        env=["GW_ON_ERROR"],
        shown_default=OnError.DEAD_LETTER.value,
    )
    max_attempts: int = setting(
        5,
        help="with --on-error retry: attempts until a dispatch becomes a dead letter",
        flags=["--max-attempts"],
        env=["GW_MAX_ATTEMPTS"],
        ge=1,
        le=MAX_ATTEMPTS,
    )
    max_deliveries: int = setting(
        5,
        help="deliveries that end their process until a dispatch becomes a dead letter",
        flags=["--max-deliveries"],
        env=["GW_MAX_DELIVERIES"],
        ge=1,
        le=MAX_DELIVERIES,
    )

    @field_validator("on_error", mode="before")
    @classmethod
    def _on_error_is_known(cls, value: str) -> str:
        return check_choice(str(value).lower(), tuple(OnError))

    @field_validator("group")
    @classmethod
    def _group_is_a_name(cls, value: str) -> str:
        return check_name(value)


class ConsumerSettings(GroupSettings):
    """Which function sets the bot up, and how many processes run it."""

    entrypoint: str = setting(
        help="the function that sets the bot up, as module:function; it is called with the bot",
        flags=["--entrypoint", "-ep"],
        env=["GW_ENTRYPOINT", "ORCHESTRATOR_ENTRYPOINT"],
    )
    entrypoint_dir: str | None = setting(
        None,
        help="folder put first on sys.path; the current one if not given",
        flags=["--entrypoint-dir"],
        env=["GW_ENTRYPOINT_DIR", "ORCHESTRATOR_ENTRYPOINT_DIR"],
    )
    processes: int = setting(
        1,
        help="processes of this group to start and supervise",
        flags=["--processes"],
        env=["GW_PROCESSES"],
        ge=1,
        le=MAX_PROCESSES,
    )

    def environment(self, **changes: object) -> dict[str, str]:
        """The environment that gives another process these settings, with `changes` to some fields."""
        environment = dict(os.environ)
        for name, field in type(self).model_fields.items():
            extra: Any = field.json_schema_extra
            value = changes.get(name, getattr(self, name))
            if value is not None:
                text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
                environment[extra["env"][0]] = text
        return environment
