"""The settings of `gw-ctl dead`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from eventbus.errors import ConfigurationError
from eventbus.names import EVENT_TYPE_PATTERN
from eventbus.settings import check_name, setting
from ops.ctl_settings import CtlSettings
from ops.letter_choice import LetterChoice, duration_s

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_LIMIT = 10_000_000


class DeadSettings(CtlSettings):
    """Whose letters, and how to print."""

    group: str = setting(
        "main", help="consumer group whose dead letters are meant", flags=["--group"], env=["GW_GROUP"]
    )
    json_output: bool = setting(False, help="print JSON", flags=["--json"], env=["GW_JSON"])

    @field_validator("group")
    @classmethod
    def _group_is_a_name(cls, value: str) -> str:
        return check_name(value)


class TypedSettings(DeadSettings):
    """Settings of what can be narrowed to one event type."""

    event_type: str | None = setting(
        None, help="only letters of this event type, as MESSAGE_CREATE", flags=["--type"], env=[]
    )

    @field_validator("event_type")
    @classmethod
    def _type_is_one(cls, value: str | None) -> str | None:
        if value is not None and not EVENT_TYPE_PATTERN.fullmatch(value):
            raise ValueError(f"{value!r} is no event type: write it as Discord does, as MESSAGE_CREATE")
        return value


class ListSettings(TypedSettings):
    """What to list."""

    limit: int = setting(100, help="show at most so many letters", flags=["--limit"], env=[], ge=1, le=MAX_LIMIT)


class ChosenSettings(TypedSettings):
    """Which letters to settle."""

    everything: bool = setting(False, help="all letters of the group", flags=["--all"], env=[])
    yes: bool = setting(False, help="do not ask; needed where nobody can be asked", flags=["--yes", "-y"], env=[])

    def choice(self, message_ids: Sequence[str]) -> LetterChoice:
        """Which letters are meant. Raises ConfigurationError if nothing is said, or both ids and --all."""
        choice = LetterChoice(frozenset(message_ids), self.event_type, **self._more())
        if self.everything and message_ids:
            raise ConfigurationError("message ids and --all contradict each other: give one of them")
        if choice.is_everything and not self.everything:
            raise ConfigurationError("say which letters: give message ids, --all or a filter such as --type")
        return choice

    def _more(self) -> dict[str, Any]:
        return {}


class RetrySettings(ChosenSettings):
    """Which letters to send again."""

    reason: str | None = setting(
        None, help="only letters whose reason contains this text, in any case", flags=["--reason"], env=[]
    )
    limit: int | None = setting(None, help="send at most so many", flags=["--limit"], env=[], ge=1, le=MAX_LIMIT)

    def _more(self) -> dict[str, Any]:
        return {"reason": self.reason}


class PurgeSettings(ChosenSettings):
    """Which letters to throw away."""

    older_than: str | None = setting(
        None, help="only letters older than this, as 90s, 12h, 7d or 1d12h", flags=["--older-than"], env=[]
    )

    @field_validator("older_than")
    @classmethod
    def _older_than_is_a_duration(cls, value: str | None) -> str | None:
        if value is not None:
            duration_s(value)
        return value

    def _more(self) -> dict[str, Any]:
        return {"older_than_s": None if self.older_than is None else duration_s(self.older_than)}
