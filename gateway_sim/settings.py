"""What can be set about the simulated gateway; the command line gives the values."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from gateway_sim.interaction_book import ANSWER_WITHIN_S

DEFAULT_TOKEN = "NDE5NDMwNDAwMDAwNzY5MjMy.simulated.bot-token"  # noqa: S105 - the simulator's default, no secret
"""Shaped as Discord's: the application id in base64, then two parts; some libraries refuse any other shape."""


def application_id_of(token: str) -> int | None:
    """Return the application id that a bot token begins with, or None if it has another shape."""
    head = token.split(".", 1)[0]
    try:
        text = base64.b64decode(head + "=" * (-len(head) % 4), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return int(text) if text.isascii() and text.isdecimal() and 0 < int(text) < 2**63 else None


@dataclass(frozen=True, slots=True)
class SimSettings:
    """Ports of 0 mean any free port; times in seconds unless the name says otherwise."""

    host: str = "127.0.0.1"
    rest_port: int = 0
    gateway_port: int = 0
    resume_port: int = 0
    control_port: int = 0
    shards: int = 1
    max_concurrency: int = 1
    identify_total: int = 1000
    identify_remaining: int | None = None
    identify_window_s: float = 5.0
    answer_within_s: float = ANSWER_WITHIN_S
    guilds: int = 100
    large_guilds: int = 2
    seed: int = 0
    token: str = DEFAULT_TOKEN
    rate: float | None = 0.0
    """Dispatches per second and shard; None is as fast as the client reads."""
    mix: str = "mixed"
    heartbeat_interval_ms: int = 41_250
    session_timeout_s: float | None = None
    """Silence after which a connection is closed with 4009; None: as soon as a heartbeat is missed."""
    replay_depth: int = 20_000
    replay_age_s: float = 180.0
    disallowed_intents: int = 0
    required_multiple: int = 1
    max_guilds_per_shard: int = 2500

    def __post_init__(self) -> None:
        at_least_one = ("shards", "max_concurrency", "identify_total", "replay_depth", "required_multiple")
        problems = [f"{name} must be at least 1" for name in at_least_one if getattr(self, name) < 1]
        if self.heartbeat_interval_ms < 50:
            problems.append("heartbeat_interval_ms must be at least 50")
        if self.session_timeout_s is not None and self.session_timeout_s <= 0:
            problems.append("session_timeout_s must be positive")
        if self.replay_age_s <= 0:
            problems.append("replay_age_s must be positive")
        if self.identify_window_s < 0:
            problems.append("identify_window_s must not be negative")
        if self.answer_within_s <= 0:
            problems.append("answer_within_s must be positive")
        if self.identify_remaining is not None and not 0 <= self.identify_remaining <= self.identify_total:
            problems.append(f"identify_remaining must be between 0 and identify_total ({self.identify_total})")
        if self.rate is not None and not 0 <= self.rate <= 1_000_000:
            problems.append("rate must be between 0 and 1000000, or max")
        if self.guilds < 0 or not self.large_guilds >= 0:
            problems.append("guilds and large_guilds must not be negative")
        if problems:
            raise ValueError("; ".join(problems))
