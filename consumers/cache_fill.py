"""Guilds that were fetched over REST: their entries in the stream, and which of them count. Pure.

A fill says what a guild is with all that stands before offset `since`. Between `since` and the fill's own place
anything may have come by dispatch, so a fill counts only if nothing was said of its guild there. All who read the
stream decide so by the same entries, and whoever wrote a fill that does not count writes a newer one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import BaseModel, ConfigDict

from consumers.cache_records import guild_id_of, pack, shard_of_guild, unpack
from consumers.errors import MalformedDispatchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from consumers.cache_records import Frame, JsonObject

GUILD_FILL: Final = "GUILD_FILL"
SPAN: Final = 2000
"""So many entries may stand between `since` and the fill: whoever begins to read reads so many more, to judge."""
CHECK_EVERY_S: Final = 6 * 3600.0
_GUILD_HEADER: Final = "guild"
_SINCE_HEADER: Final = "since"


class Filled(BaseModel):
    """An entry of the index: all guilds that REST named were there, in a check that began at `at` (Unix seconds).

    `upto` is how far the stream of dispatches was; a stream that is shorter is another one.
    """

    model_config = ConfigDict(frozen=True)

    v: int = 1
    at: float
    upto: int


def due_in_s(filled: Filled | None, *, now: float, wanted_since: float, next_offset: int) -> float:
    """Seconds until REST should be asked; 0 is now. `wanted_since`: when entries were last found to be missing."""
    if filled is None or filled.at < wanted_since or filled.upto > next_offset:
        return 0.0
    return max(0.0, filled.at + CHECK_EVERY_S - now)


def fill_headers(guild_id: int, since: int) -> dict[str, Any]:
    """The headers of a fill."""
    return {_GUILD_HEADER: str(guild_id), _SINCE_HEADER: since}


def fill_body(frames: Iterable[Frame]) -> bytes:
    """The body of a fill that brings a guild; an empty body says that the bot is not in it."""
    return pack({"frames": list(frames)})


def guild_and_since(headers: Mapping[str, Any]) -> tuple[int, int]:
    """What the headers of a fill say. Raises MalformedDispatchError."""
    guild, since = headers.get(_GUILD_HEADER), headers.get(_SINCE_HEADER)
    if not isinstance(guild, str) or not guild.isdecimal() or not isinstance(since, int):
        raise MalformedDispatchError("a fill without the headers guild and since")
    return int(guild), since


def frames_of(body: bytes) -> Iterator[Frame]:
    """The frames in the body of a fill. Raises MalformedDispatchError."""
    frames = unpack(body).get("frames")
    if not isinstance(frames, list):
        raise MalformedDispatchError("a fill without frames")
    for frame in frames:
        match frame:
            case [str() as event_type, dict() as payload]:
                yield event_type, payload
            case _:
                raise MalformedDispatchError("a frame of a fill is no event type with a payload")


class _Identify(NamedTuple):
    offset: int
    shard: int
    shard_count: int


class FillJudge:
    """Says whether a fill counts. It hears the entries in order, from `span` before the first fill on."""

    def __init__(self, span: int = SPAN) -> None:
        self._span = span
        self._said: dict[int, int] = {}
        self._identifies: list[_Identify] = []

    def __len__(self) -> int:
        """What is remembered."""
        return len(self._said) + len(self._identifies)

    def hear(self, offset: int, event_type: str, headers: Mapping[str, Any], payload: JsonObject) -> None:
        """A dispatch stands in the stream."""
        if event_type == "READY":
            shard, shard_count = headers.get("shard"), headers.get("shard_count")
            if isinstance(shard, int) and isinstance(shard_count, int) and shard_count > 0:
                self.identified(offset, shard, shard_count)
            return
        guild_id = guild_id_of(event_type, payload)
        if guild_id is not None:
            self.said(offset, guild_id)

    def said(self, offset: int, guild_id: int) -> None:
        """Something was said of a guild."""
        self._said.pop(guild_id, None)
        self._said[guild_id] = offset
        while self._said[oldest := next(iter(self._said))] < offset - self._span:
            del self._said[oldest]

    def identified(self, offset: int, shard: int, shard_count: int) -> None:
        """A session began: it says of all guilds of its shard that they come, or are left."""
        recent = [one for one in self._identifies if one.offset >= offset - self._span]
        self._identifies = [*recent, _Identify(offset, shard, shard_count)]

    def counts(self, offset: int, guild_id: int, since: int) -> bool:
        """Whether a fill at `offset` counts, if its guild is missing there (or is there, if it takes it away)."""
        is_true = 0 <= offset - since <= self._span and not self._is_outdated(guild_id, since)
        self.said(offset, guild_id)
        return is_true

    def frames(
        self, offset: int, headers: Mapping[str, Any], body: bytes, *, has_guild: Callable[[int], bool]
    ) -> Iterator[Frame]:
        """What the fill at `offset` changes; nothing if it does not count. Raises MalformedDispatchError."""
        guild_id, since = guild_and_since(headers)
        if not self.counts(offset, guild_id, since) or bool(body) is has_guild(guild_id):
            return
        if body:
            yield from frames_of(body)
        else:
            yield "GUILD_DELETE", {"id": str(guild_id)}

    def _is_outdated(self, guild_id: int, since: int) -> bool:
        return self._said.get(guild_id, -1) >= since or any(
            one.offset >= since and shard_of_guild(guild_id, one.shard_count) == one.shard for one in self._identifies
        )
