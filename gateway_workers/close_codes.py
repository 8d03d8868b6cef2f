"""What to do after Discord closed a connection.

Source: https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes
"""

from __future__ import annotations

from enum import Enum


class NextStep(Enum):
    """How a shard goes on after its connection ended."""

    RESUME = "resume"
    IDENTIFY = "identify"
    STOP = "stop"


RESUMABLE_CLOSE = 4900
"""The code that we close with: any but 1000 and 1001 keeps the session."""

_NEW_SESSION = frozenset({4003, 4007, 4009})
_FATAL = {
    4004: "Discord refused the bot token (4004): set DISCORD_TOKEN to the token of the developer portal's Bot page",
    4010: "Discord calls the shard invalid (4010): the shard count is wrong; set GW_SHARD_COUNT (a very large bot"
    " needs a multiple of the number that Discord assigned) and restart the coordinator",
    4011: "Discord requires more shards (4011): leave GW_SHARD_COUNT unset, so that Discord's recommendation is"
    " used, and restart the coordinator",
    4012: "Discord does not know this gateway version (4012): update hikari-relay",
    4013: "Discord calls the intents invalid (4013): correct GW_INTENTS and restart the coordinator",
    4014: "Discord disallows these intents (4014): switch the privileged intents on in the developer portal,"
    " or take them out of GW_INTENTS and restart the coordinator",
}


def next_step(code: int | None) -> NextStep:
    """The step after a close with `code`; None stands for a connection lost without one."""
    if code in _FATAL:
        return NextStep.STOP
    if code in _NEW_SESSION:
        return NextStep.IDENTIFY
    return NextStep.RESUME


def advice(code: int | None) -> str:
    """The sentence for a code whose next step is STOP."""
    return _FATAL[code or 0]
