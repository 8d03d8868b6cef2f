"""Follows the files in which handlers write down what they handled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.chaos.verdict import HandledDispatch

if TYPE_CHECKING:
    from pathlib import Path


class RecordFolder:
    """All `*.record` files of a folder; `read()` gives what was added since the last call, per file in order."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._offsets: dict[Path, int] = {}

    def read(self) -> list[HandledDispatch]:
        """What was handled since the last call; half a line waits for its other half."""
        found: list[HandledDispatch] = []
        for path in sorted(self.directory.glob("*.record")):
            offset = self._offsets.get(path, 0)
            if path.stat().st_size == offset:
                continue
            with path.open("rb") as file:
                file.seek(offset)
                content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            self._offsets[path] = offset + len(whole)
            found += [parse_record(line) for line in whole.decode("ascii").splitlines()]
        return found


def parse_record(line: str) -> HandledDispatch:
    """One line: `session:seq handled_at shard fencing_token flags`.

    The flags are `-`, or `p` (replayed by Discord), `d` (redelivered by the broker) and `w` (the body is another one).
    """
    message_id, at, shard, token, flags = line.split()
    session_id, _, seq = message_id.rpartition(":")
    return HandledDispatch(
        session_id, int(seq), float(at), int(shard), int(token), "p" in flags, "d" in flags, "w" in flags
    )
