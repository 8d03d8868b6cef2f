"""A bot that handles every event and writes down which: the demo and the tests compare it with the simulator's ledger.

One line for each handled dispatch, `message_id handled_at`, in a file of its own for each process. The line is with the
kernel before the handler ends, so it survives a SIGKILL of the process. With RECORD_DETAILS set, ` shard fencing_token
flags` follow: `p` for replayed by Discord, `d` for redelivered by the broker, `-` for neither.

RECORD_POISON_PERCENT makes the handler raise for so many dispatches in a hundred, chosen by their message ids; those
are written to a file of their own.
"""

from __future__ import annotations

import os
import time
import zlib
from pathlib import Path

import hikari

import consumers

EVENTS = (
    hikari.ShardReadyEvent, hikari.ShardResumedEvent, hikari.GuildAvailableEvent, hikari.GuildJoinEvent,
    hikari.GuildUnavailableEvent, hikari.GuildLeaveEvent, hikari.GuildUpdateEvent, hikari.EmojisUpdateEvent,
    hikari.GuildChannelEvent, hikari.GuildThreadEvent, hikari.MemberEvent, hikari.RoleEvent, hikari.BanEvent,
    hikari.MessageEvent, hikari.GuildBulkMessageDeleteEvent, hikari.ReactionEvent, hikari.InteractionCreateEvent,
    hikari.PresenceUpdateEvent, hikari.TypingEvent, hikari.VoiceEvent,
)  # fmt: skip


class PoisonError(Exception):
    """The handler was told to raise."""


def setup(bot: hikari.GatewayBotAware) -> None:
    directory = Path(os.environ["RECORD_DIR"])
    with_details = bool(os.environ.get("RECORD_DETAILS"))
    poison_percent = float(os.environ.get("RECORD_POISON_PERCENT") or 0)
    file = open_to_append(directory / f"{os.getpid()}.record")
    poison_file = open_to_append(directory / f"{os.getpid()}.poison") if poison_percent else None

    async def record(_: hikari.Event) -> None:
        dispatch = consumers.current_dispatch()
        if dispatch is not None:
            if poison_file is not None and is_poison(dispatch.message_id, poison_percent):
                os.write(poison_file, f"{dispatch.message_id}\n".encode())
                raise PoisonError(f"{dispatch.message_id} is poison")
            line = f"{dispatch.message_id} {time.time():.6f}"
            if with_details:
                line += f" {dispatch.shard} {dispatch.fencing_token} {flags(dispatch)}"
            os.write(file, f"{line}\n".encode())

    for event in EVENTS:
        bot.event_manager.subscribe(event, record)


def flags(dispatch: consumers.Dispatch) -> str:
    return "p" * dispatch.replayed + "d" * dispatch.redelivered or "-"


def is_poison(message_id: str, percent: float) -> bool:
    return zlib.crc32(message_id.encode()) % 10_000 < percent * 100


def open_to_append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
