"""Settings of `gw-run`: the options of `hikari_orchestrator run`, and what one machine needs beside them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from pydantic import SecretStr, ValidationInfo, field_validator, model_validator

from eventbus.consumer_settings import drain_timeout_setting, entrypoint_dir_setting, group_setting, reload_setting
from eventbus.settings import BotSettings, check_name, setting

SIMULATOR_TOKEN = "NDE5NDMwNDAwMDAwNzY5MjMy.simulated.bot-token"  # noqa: S105 - for gw-sim, no secret
DATA_DIR = ".run"
BROKER_FOLDER = "broker"  # of the private node, in the data folder
_UNSET = SecretStr("unset")


def data_dir_setting() -> Any:  # noqa: ANN401 - as `setting`
    """Where `gw-run` keeps what it needs, and where `gw-ctl` looks for it."""
    return setting(
        Path(DATA_DIR),
        help="folder of the private RabbitMQ node that runs if AMQP_URL is not set",
        flags=["--data-dir"],
        env=["GW_DATA_DIR"],
    )


class RunSettings(BotSettings):
    """A whole fleet on this machine."""

    token: SecretStr = setting(
        _UNSET,
        help="the bot token; better given by the environment",
        flags=["--token"],
        env=["DISCORD_TOKEN", "GW_TOKEN"],
        secret=True,
        shown_default="needed without --sim",
    )
    entrypoint: str | None = setting(
        None,
        help="the function that sets the bot up, as module:function; it is called with the bot",
        flags=["--entrypoint", "-ep"],
        env=["GW_ENTRYPOINT", "ORCHESTRATOR_ENTRYPOINT"],
        shown_default="needed, but with --process-count 0",
        pattern=r"^[^:\s]+:[^:\s]+$",
    )
    entrypoint_dir: Path | None = entrypoint_dir_setting()
    intents: str | None = setting(
        None,
        help="gateway intents: a number, or names such as GUILDS|GUILD_MESSAGES",
        flags=["--intents"],
        env=["GW_INTENTS", "ORCHESTRATOR_INTENTS"],
        shown_default="ALL_UNPRIVILEGED",
    )
    shard_count: int | None = setting(
        None,
        help="the bot's shard count; Discord's recommendation if not given",
        flags=["--shard-count"],
        env=["GW_SHARD_COUNT", "ORCHESTRATOR_SHARD_COUNT"],
        ge=1,
        le=100_000,
    )
    group: str = group_setting()
    process_count: int = setting(
        os.cpu_count() or 1,
        help="consumer processes; 0 runs the others only: coordinator and gateway workers",
        flags=["--process-count"],
        env=["GW_PROCESS_COUNT", "ORCHESTRATOR_PROCESS_COUNT"],
        shown_default="number of CPUs",
        ge=0,
        le=1000,
    )
    worker_count: int = setting(
        1, help="gateway workers", flags=["--worker-count"], env=["GW_WORKER_COUNT"], ge=1, le=1000
    )
    reload: bool = reload_setting()
    drain_timeout_s: float = drain_timeout_setting()
    data_dir: Path = data_dir_setting()
    sim: bool = setting(False, help="a simulated Discord in the place of the real one", flags=["--sim"], env=["GW_SIM"])
    sim_rate: float = setting(
        5.0, help="dispatches per second and shard with --sim", flags=["--sim-rate"], env=["GW_SIM_RATE"], ge=0
    )

    @field_validator("entrypoint_dir")
    @classmethod
    def _entrypoint_dir_is_one(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_dir():
            raise ValueError(f"{str(value)!r} is not a folder")
        return value

    @field_validator("group")
    @classmethod
    def _group_is_a_name(cls, value: str) -> str:
        return check_name(value)

    @field_validator("process_count")
    @classmethod
    def _entrypoint_is_there(cls, value: int, info: ValidationInfo) -> int:
        if value and info.data.get("entrypoint", "") is None:
            raise ValueError(
                "--entrypoint (GW_ENTRYPOINT) is missing: name the function that sets the bot up as module:function,"
                " or give 0 to run no consumers"
            )
        return value

    @model_validator(mode="after")
    def _token_is_there(self) -> Self:
        if self.token == _UNSET and not self.sim:
            raise ValueError("--token (DISCORD_TOKEN) is missing: set it to the bot token, or try --sim")
        return self

    @property
    def broker_is_given(self) -> bool:
        """Whether AMQP_URL names a broker that runs already."""
        return "amqp_url" in self.model_fields_set
