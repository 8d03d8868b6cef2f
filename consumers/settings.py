"""Settings of a consumer: of a `Bot` in a script of one's own, and of `gw-consume`."""

from __future__ import annotations

import os
from typing import Any

from pydantic import SecretStr, field_validator

from eventbus.settings import BotSettings, check_name, setting

MAX_PREFETCH = 10_000
MAX_PROCESSES = 256


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
