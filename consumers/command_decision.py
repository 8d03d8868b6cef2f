"""Whether a process sends its set of commands, given what its group sent before. Pure.

docs/decisions/0010-command-sync.md has the reasons.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventbus.command_record import CommandsSynced


class Sync(Enum):
    """What to do with a set of commands."""

    SEND = "send"
    ALREADY_SENT = "already_sent"
    SUPERSEDED = "superseded"


def decide(records: Sequence[CommandsSynced], *, wanted: str, made: str, is_newest_run: bool) -> Sync:
    """`records` of the scope, oldest first; `made` is what Discord has now, both as digests.

    `is_newest_run`: whether another process of the group runs with what the newest record made.
    """
    if not records or records[-1].made != made:  # never synced, or changed since by somebody else
        return Sync.SEND
    if records[-1].wanted == wanted:
        return Sync.ALREADY_SENT
    was_sent_before = any(record.wanted == wanted for record in records)
    return Sync.SUPERSEDED if was_sent_before and is_newest_run else Sync.SEND
