"""Settings of `gw-coordinator`."""

from __future__ import annotations

from pydantic import field_validator

from coordinator.intents import DEFAULT_INTENTS, parse_intents
from eventbus.settings import BotSettings, setting
from eventbus.shard_ranges import MAX_SHARD_COUNT


class CoordinatorSettings(BotSettings):
    """What the whole fleet has in common."""

    intents: int = setting(
        DEFAULT_INTENTS,
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
        le=MAX_SHARD_COUNT,
    )
    identify_reserve: int | None = setting(
        None,
        help="identifies of the day that are kept for recovery; a tenth if not given",
        flags=["--identify-reserve"],
        env=["GW_IDENTIFY_RESERVE"],
        ge=0,
    )

    rebalance_after_s: float = setting(
        60.0,
        help="seconds of calm after which shards are spread evenly over the workers; 0 for never",
        flags=["--rebalance-after"],
        env=["GW_REBALANCE_AFTER"],
        ge=0,
        le=86_400,
    )

    @field_validator("intents", mode="before")
    @classmethod
    def _intents_are_known(cls, value: object) -> object:
        return parse_intents(value) if isinstance(value, str) else value
