"""A bot that handles every event and writes down which: the demo and the tests compare it with the simulator's ledger.

One line for each handled dispatch, `message_id handled_at`, in a file of its own for each process. The line is with the
kernel before the handler ends, so it survives a SIGKILL of the process. With RECORD_DETAILS set, ` shard fencing_token
flags` follow: `p` for replayed by Discord, `d` for redelivered by the broker, `-` for neither.
"""

from __future__ import annotations

import os
import time
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


def setup(bot: hikari.GatewayBotAware) -> None:
    directory = Path(os.environ["RECORD_DIR"])
    with_details = bool(os.environ.get("RECORD_DETAILS"))
    file = os.open(directory / f"{os.getpid()}.record", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    async def record(_: hikari.Event) -> None:
        dispatch = consumers.current_dispatch()
        if dispatch is not None:
            line = f"{dispatch.message_id} {time.time():.6f}"
            if with_details:
                line += f" {dispatch.shard} {dispatch.fencing_token} {flags(dispatch)}"
            os.write(file, f"{line}\n".encode())

    for event in EVENTS:
        bot.event_manager.subscribe(event, record)


def flags(dispatch: consumers.Dispatch) -> str:
    return "p" * dispatch.replayed + "d" * dispatch.redelivered or "-"
