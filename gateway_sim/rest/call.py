"""One REST call as the handlers see it, and their reply: no HTTP library in sight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway_sim.rest.errors import invalid_form

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway_sim.dispatch import Dispatch
    from gateway_sim.rest.journal import RestJournal
    from gateway_sim.world import World

JsonObject = dict[str, Any]

_FALSE_WORDS = frozenset({"", "0", "false", "False"})


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a multipart form; its bytes are not kept."""

    name: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Backend:
    """All that the handlers work on."""

    world: World
    journal: RestJournal
    on_dispatch: Callable[[Dispatch], None]
    gateway_url: Callable[[], str]
    session_start_limit: Callable[[], JsonObject]
    recommended_shards: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Reply:
    """HTTP status and JSON body; None is an empty body."""

    status: int
    body: Any = None


NO_CONTENT = Reply(204)


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose route is known: `params` of the path, `query`, and the JSON `body` (None if there is none)."""

    backend: Backend
    params: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None
    uploads: list[Upload] = field(default_factory=list)

    @property
    def world(self) -> World:
        """The universe."""
        return self.backend.world

    def id(self, name: str) -> int:
        """A snowflake of the path."""
        return _snowflake(name, self.params[name])

    def query_id(self, name: str, default: int) -> int:
        """A snowflake of the query."""
        return _snowflake(name, self.query[name]) if name in self.query else default

    def limit(self, default: int, most: int) -> int:
        """The page size of the query."""
        text = self.query.get("limit", str(default))
        if not text.isdecimal() or not 1 <= int(text) <= most:
            message = f"int value should be between 1 and {most}."
            raise invalid_form([(("limit",), "NUMBER_TYPE_RANGE", message)])
        return int(text)

    def flag(self, name: str) -> bool:
        """A yes-or-no parameter of the query; absent is no."""
        return self.query.get(name, "") not in _FALSE_WORDS

    def json_object(self) -> JsonObject:
        """The body, which must be an object."""
        if self.body is None:
            return {}
        if not isinstance(self.body, dict):
            raise invalid_form([((), "DICT_TYPE_CONVERT", "Only dictionaries may be used in a DictType")])
        return self.body


def _snowflake(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 64:
        raise invalid_form([((name,), "NUMBER_TYPE_COERCE", f'Value "{text}" is not snowflake.')])
    return int(text)
