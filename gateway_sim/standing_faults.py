"""Faults that stay until they are lifted, used up or over; asked before each decision they touch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class StandingFaults:
    """What is set now. Values per shard: the key None stands for every shard."""

    envelope: dict[int | None, object] = field(default_factory=dict)
    duplicate: dict[int | None, float] = field(default_factory=dict)
    slow_socket: dict[int | None, float] = field(default_factory=dict)
    refuse_resume: dict[int | None, int] = field(default_factory=dict)
    missing_ready_until: dict[int | None, float] = field(default_factory=dict)
    reconnects_before_hello: int = 0

    def clear(self) -> None:
        """Lift them all."""
        for values in (
            self.envelope,
            self.duplicate,
            self.slow_socket,
            self.refuse_resume,
            self.missing_ready_until,
        ):
            values.clear()
        self.reconnects_before_hello = 0

    def duplicates(self, shard_id: int) -> float:
        """Return the probability of a duplicate for a dispatch of this shard."""
        return self.duplicate.get(shard_id, self.duplicate.get(None, 0.0))

    def ready_is_missing(self, shard_id: int, now: float) -> bool:
        """Whether an Identify of this shard gets no answer now."""
        return any(now < self.missing_ready_until.get(key, 0.0) for key in (shard_id, None))

    def take_resume_refusal(self, shard_id: int) -> bool:
        """Use up one refusal of a Resume, if one is set for this shard."""
        for key in (shard_id, None):
            if self.refuse_resume.get(key, 0) > 0:
                self.refuse_resume[key] -= 1
                return True
        return False

    def take_reconnect_before_hello(self) -> bool:
        """Use up one op 7 in place of Hello, if one is set."""
        if self.reconnects_before_hello <= 0:
            return False
        self.reconnects_before_hello -= 1
        return True
