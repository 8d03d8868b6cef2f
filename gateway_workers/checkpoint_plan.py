"""Which checkpoints to write now: those that changed, and each one again after a while. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from eventbus.messages import Checkpoint

REFRESH_S = 5.0


class CheckpointPlan:
    """What a worker has written to the session stream; `now` is monotonic, in seconds."""

    def __init__(self) -> None:
        self._written: dict[int, tuple[Checkpoint, float]] = {}

    def due(self, current: Iterable[Checkpoint], now: float) -> tuple[Checkpoint, ...]:
        """Of the worker's `current` checkpoints those to write now; they count as written."""
        found = tuple(checkpoint for checkpoint in current if self._is_due(checkpoint, now))
        for checkpoint in found:
            self._written[checkpoint.shard] = (checkpoint, now)
        return found

    def _is_due(self, checkpoint: Checkpoint, now: float) -> bool:
        written, at = self._written.get(checkpoint.shard, (None, 0.0))
        return written != checkpoint or now - at >= REFRESH_S
