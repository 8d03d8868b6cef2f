"""The ledger: every dispatch that was sent, in columns, so that millions of rows stay cheap."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway_sim.replay_buffer import Entry

_PENDING_ROWS = 8192
_MAX_U64 = 2**64 - 1


class Ledger:
    """Append-only record of dispatches; row `n` counts from 1, over first sends and replays alike.

    Rows wait as the sessions' own entries and are moved into columns in bulk (about 40 bytes a row).
    """

    def __init__(self) -> None:
        self._sessions: list[tuple[str, int, int]] = []
        self._types: list[str] = []
        self._type_numbers: dict[str, int] = {}
        self._pending: list[tuple[int, Sequence[Entry], bool]] = []
        self._pending_rows = 0
        self._session_column = array("I")
        self._seq_column = array("Q")
        self._type_column = array("H")
        self._guild_column = array("Q")
        self._id_column = array("Q")
        self._at_column = array("d")
        self._replay_column = array("B")
        self._odd_ids: dict[int, str] = {}
        self._sent_by_type: Counter[int] = Counter()
        self._replayed = 0

    def __len__(self) -> int:
        return len(self._seq_column) + self._pending_rows

    def add_session(self, session_id: str, shard_id: int, shard_count: int) -> int:
        """Register a session and return the number under which its dispatches are recorded."""
        self._sessions.append((session_id, shard_id, shard_count))
        return len(self._sessions) - 1

    def record(self, session_number: int, entries: Sequence[Entry], *, replay: bool = False) -> None:
        """Record dispatches of a session. `entries` must not be changed afterwards."""
        self._pending.append((session_number, entries, replay))
        self._pending_rows += len(entries)
        if self._pending_rows >= _PENDING_ROWS:
            self._settle()

    @property
    def sent(self) -> int:
        """How many dispatches were sent for the first time."""
        return len(self) - self.replayed

    @property
    def replayed(self) -> int:
        """How many dispatches were sent again after a Resume."""
        self._settle()
        return self._replayed

    def by_type(self) -> dict[str, int]:
        """Return the number of first sends per event type, sorted by name."""
        self._settle()
        return dict(sorted((self._types[number], count) for number, count in self._sent_by_type.items()))

    def lines(self, *, after: int = 0, replays: bool = False, chunk_rows: int = 2000) -> Iterator[bytes]:
        """Yield JSON lines of the rows with n > `after`, many lines per chunk; replays only if asked for."""
        self._settle()
        end = len(self._seq_column)
        for start in range(max(after, 0), end, chunk_rows):
            rows = range(start, min(start + chunk_rows, end))
            chunk = "".join(self._line(row) for row in rows if replays or not self._replay_column[row])
            if chunk:
                yield chunk.encode()

    def _line(self, row: int) -> str:
        session_id, shard_id, shard_count = self._sessions[self._session_column[row]]
        entity_id = self._odd_ids.get(row)
        quoted = f'"{self._id_column[row]}"' if entity_id is None else json.dumps(entity_id)
        return (
            f'{{"n":{row + 1},"session":"{session_id}","shard":{shard_id},"shard_count":{shard_count},'
            f'"seq":{self._seq_column[row]},"type":{json.dumps(self._types[self._type_column[row]])},'
            f'"guild":"{self._guild_column[row]}","id":{quoted},"at":{self._at_column[row]:.6f},'
            f'"replay":{"true" if self._replay_column[row] else "false"}}}\n'
        )

    def _settle(self) -> None:
        for session_number, entries, replay in self._pending:
            self._append(session_number, entries, replay=replay)
        self._pending.clear()
        self._pending_rows = 0

    def _append(self, session_number: int, entries: Sequence[Entry], *, replay: bool) -> None:
        first_row = len(self._seq_column)
        count = len(entries)
        types = [self._type_number(dispatch.type) for _, _, dispatch in entries]
        self._session_column.extend([session_number] * count)
        self._seq_column.extend([seq for seq, _, _ in entries])
        self._type_column.extend(types)
        self._guild_column.extend([dispatch.guild_id for _, _, dispatch in entries])
        self._id_column.extend(self._ids(first_row, [dispatch.entity_id for _, _, dispatch in entries]))
        self._at_column.extend([at for _, at, _ in entries])
        self._replay_column.extend([int(replay)] * count)
        if replay:
            self._replayed += count
        else:
            self._sent_by_type.update(types)

    def _ids(self, first_row: int, ids: list[str]) -> list[int]:
        numbers = []
        for offset, text in enumerate(ids):
            number = int(text) if text.isdecimal() and text.isascii() else -1
            if not 0 <= number <= _MAX_U64 or str(number) != text:
                self._odd_ids[first_row + offset] = text
                number = 0
            numbers.append(number)
        return numbers

    def _type_number(self, name: str) -> int:
        number = self._type_numbers.get(name)
        if number is None:
            number = self._type_numbers[name] = len(self._types)
            self._types.append(name)
        return number
