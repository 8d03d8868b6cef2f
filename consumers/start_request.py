"""What `Bot.start()` is asked for: hikari's arguments, checked."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypedDict

import hikari

from consumers.refusals import START, refuse

if TYPE_CHECKING:
    import datetime
    from collections.abc import Sequence

MIN_WINDOW_DELAY_S = 5


class StartOptions(TypedDict, total=False):
    """The keyword arguments of `start()`; `StartRequest` has their defaults and checks."""

    activity: hikari.Activity | None
    afk: bool
    check_for_updates: bool
    idle_since: datetime.datetime | None
    ignore_session_start_limit: bool
    large_threshold: int
    shard_ids: Sequence[int] | None
    shard_count: int | None
    status: hikari.Status
    startup_window_delay: int


class Presence(TypedDict, total=False):
    """The arguments of `update_presence`."""

    activity: hikari.Activity | None
    afk: bool
    idle_since: datetime.datetime | None
    status: hikari.Status


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRequest:
    """Raises TypeError and ValueError as hikari does, and ConfigurationError for what cannot mean the same here."""

    activity: hikari.Activity | None = None
    afk: bool = False
    check_for_updates: bool = True
    idle_since: datetime.datetime | None = None
    ignore_session_start_limit: bool = False
    large_threshold: int = 250
    shard_ids: Sequence[int] | None = None
    shard_count: int | None = None
    status: hikari.Status = hikari.Status.ONLINE
    startup_window_delay: int = MIN_WINDOW_DELAY_S

    def __post_init__(self) -> None:
        if self.shard_ids is not None and self.shard_count is None:
            raise TypeError("'shard_ids' must be passed with 'shard_count'")
        if self.startup_window_delay < MIN_WINDOW_DELAY_S:
            raise ValueError(f"'startup_window_delay' must be at least {MIN_WINDOW_DELAY_S} seconds")
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        refuse(START, given, {field.name: field.default for field in fields(self)})

    @property
    def presence(self) -> Presence | None:
        """The presence to begin with; None if it is what Discord shows anyway."""
        presence = Presence(activity=self.activity, afk=self.afk, idle_since=self.idle_since, status=self.status)
        usual = Presence(activity=None, afk=False, idle_since=None, status=hikari.Status.ONLINE)
        return None if presence == usual else presence


def warn_of_activity(activity: hikari.UndefinedNoneOr[hikari.Activity]) -> None:
    """Warn as hikari does: Discord ignores a STREAMING activity without a URL."""
    if activity and activity.type is hikari.ActivityType.STREAMING and activity.url is None:
        sentence = "the STREAMING activity type needs a 'url' of Twitch or YouTube: without it Discord shows nothing"
        warnings.warn(sentence, category=hikari.HikariWarning, stacklevel=3)
