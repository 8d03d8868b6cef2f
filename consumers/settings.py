"""Settings of a consumer: of a `Bot` in a script of one's own, and of `gw-consume`."""

from __future__ import annotations

import os
from typing import Any

from pydantic import SecretStr, field_validator

from consumers.cache_parts import CacheParts
from consumers.event_types import EVENT_CLASSES, WITHOUT_EVENT
from consumers.failure_policy import MAX_ATTEMPTS, OnError
from consumers.limits import parse_limits
from consumers.staleness import FIRST_ANSWER_S
from eventbus.consumer_settings import drain_timeout_setting, entrypoint_dir_setting, group_setting, reload_setting
from eventbus.group_layout import MAX_PARTITIONS, GroupLayout, Ordering
from eventbus.settings import BotSettings, check_choice, check_name, setting

MAX_PREFETCH = 10_000
MAX_PROCESSES = 256
_KNOWN_TYPES = frozenset(EVENT_CLASSES) | WITHOUT_EVENT
MAX_DELIVERIES = 20  # where the queue's own limit, the backstop, begins


class GroupSettings(BotSettings):
    """What a bot in a consumer group needs."""

    group: str = group_setting()
    prefetch: int = setting(
        100,
        help="deliveries that a process handles at once, in each lane",
        flags=["--prefetch"],
        env=["GW_PREFETCH"],
        ge=1,
        le=MAX_PREFETCH,
    )
    limit: str = setting(
        "",
        help="deliveries of an event type that a process handles at once, such as MESSAGE_CREATE=10,TYPING_START=1",
        flags=["--limit"],
        env=["GW_LIMIT"],
    )
    ordering: Ordering = setting(
        Ordering.NONE,
        help="whose handlers start in order over all processes of the group: none, guild or shard",
        flags=["--ordering"],
        env=["GW_ORDERING"],
        shown_default=Ordering.NONE.value,
    )
    partitions: int = setting(
        16,
        help="with --ordering guild or shard: parts of the group's dispatches, each for one process at a time",
        flags=["--partitions"],
        env=["GW_PARTITIONS"],
        ge=1,
        le=MAX_PARTITIONS,
    )
    handler_timeout_s: float = setting(
        1500.0,
        help="seconds until a handler is cancelled and counts as failed; 0: never, and RabbitMQ gives up after 1800",
        flags=["--handler-timeout"],
        env=["GW_HANDLER_TIMEOUT"],
        ge=0,
        le=86_400,
    )
    block_timeout_s: float = setting(
        60.0,
        help="seconds that a handler may block the event loop until the process ends, to be started again; 0: for ever",
        flags=["--block-timeout"],
        env=["GW_BLOCK_TIMEOUT"],
        ge=0,
        le=86_400,
    )
    max_interaction_age_s: float = setting(
        FIRST_ANSWER_S,
        help="seconds until an interaction that nobody answered is skipped; 0: the 15 minutes that its token lives",
        flags=["--max-interaction-age"],
        env=["GW_MAX_INTERACTION_AGE"],
        ge=0,
        le=900,
    )
    max_age_s: float = setting(
        0.0,
        help="seconds since the worker received a dispatch until it is skipped unhandled; 0: never",
        flags=["--max-age"],
        env=["GW_MAX_AGE"],
        ge=0,
    )
    drain_timeout_s: float = drain_timeout_setting()

    command_timeout_s: float = setting(
        15.0,
        help="seconds in which a gateway command is tried again while its shard moves to another worker",
        flags=["--command-timeout"],
        env=["GW_COMMAND_TIMEOUT"],
        gt=0,
        le=600,
    )
    cache: str = setting(
        "",
        help="parts of hikari's cache to keep, joined by commas: guilds, channels, threads, roles, emojis, stickers,"
        " invites, voice-states, members, presences, messages; or all; none but the own user if not given",
        flags=["--cache"],
        env=["GW_CACHE"],
    )
    members_as_sent: bool = setting(
        False,
        help="with members in the cache: only those that Discord sends by itself, none that must be asked for",
        flags=["--members-as-sent"],
        env=["GW_MEMBERS_AS_SENT"],
    )
    components_anywhere: bool = setting(
        False,
        help="any process of the group handles a component or modal, not the one that sent or opened it",
        flags=["--components-anywhere"],
        env=["GW_COMPONENTS_ANYWHERE"],
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

    @field_validator("limit")
    @classmethod
    def _limit_has_types_and_numbers(cls, value: str) -> str:
        parse_limits(value, _KNOWN_TYPES)
        return value

    @field_validator("cache")
    @classmethod
    def _cache_names_parts(cls, value: str) -> str:
        CacheParts.parse(value)
        return value

    @field_validator("on_error", mode="before")
    @classmethod
    def _on_error_is_known(cls, value: str) -> str:
        return check_choice(str(value).lower(), tuple(OnError))

    @field_validator("ordering", mode="before")
    @classmethod
    def _ordering_is_known(cls, value: str) -> str:
        return check_choice(str(value).lower(), tuple(Ordering))

    @field_validator("group")
    @classmethod
    def _group_is_a_name(cls, value: str) -> str:
        return check_name(value)

    @property
    def layout(self) -> GroupLayout:
        """How the processes of the group share its dispatches."""
        return GroupLayout(self.ordering, self.partitions)

    @property
    def limits(self) -> dict[str, int]:
        """`limit`, read: event type → deliveries at once."""
        return parse_limits(self.limit, _KNOWN_TYPES)


class ConsumerSettings(GroupSettings):
    """Which function sets the bot up, and how many processes run it."""

    entrypoint: str = setting(
        help="the function that sets the bot up, as module:function; it is called with the bot",
        flags=["--entrypoint", "-ep"],
        env=["GW_ENTRYPOINT", "ORCHESTRATOR_ENTRYPOINT"],
    )
    entrypoint_dir: str | None = entrypoint_dir_setting()
    processes: int = setting(
        1,
        help="processes of this group to start and supervise; SIGUSR1 replaces them one by one",
        flags=["--processes"],
        env=["GW_PROCESSES"],
        ge=1,
        le=MAX_PROCESSES,
    )

    reload: bool = reload_setting()

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
