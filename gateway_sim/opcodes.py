"""Discord's numbers on the gateway: opcodes, close codes, intents, limits.

Source: https://discord.com/developers/docs/topics/opcodes-and-status-codes and .../docs/events/gateway.
"""

from __future__ import annotations

import enum


class Opcode(enum.IntEnum):
    """Gateway opcodes, of both directions."""

    DISPATCH = 0
    HEARTBEAT = 1
    IDENTIFY = 2
    PRESENCE_UPDATE = 3
    VOICE_STATE_UPDATE = 4
    RESUME = 6
    RECONNECT = 7
    REQUEST_GUILD_MEMBERS = 8
    INVALID_SESSION = 9
    HELLO = 10
    HEARTBEAT_ACK = 11
    REQUEST_SOUNDBOARD_SOUNDS = 31
    REQUEST_CHANNEL_INFO = 43


class CloseCode(enum.IntEnum):
    """Close codes that the gateway sends."""

    UNKNOWN_ERROR = 4000
    UNKNOWN_OPCODE = 4001
    DECODE_ERROR = 4002
    NOT_AUTHENTICATED = 4003
    AUTHENTICATION_FAILED = 4004
    ALREADY_AUTHENTICATED = 4005
    INVALID_SEQ = 4007
    RATE_LIMITED = 4008
    SESSION_TIMED_OUT = 4009
    INVALID_SHARD = 4010
    SHARDING_REQUIRED = 4011
    INVALID_API_VERSION = 4012
    INVALID_INTENTS = 4013
    DISALLOWED_INTENTS = 4014


CLOSES_THAT_END_THE_SESSION = frozenset(
    {4003, 4004, 4007, 4009, 4010, 4011, 4012, 4013, 4014},
)
"""After these close codes of the gateway a Resume is refused."""

CLIENT_CLOSES_THAT_END_THE_SESSION = frozenset({1000, 1001})
"""A client that closes with one of these gives its session up; any other end keeps it."""

SENT_BY_CLIENTS = frozenset({1, 2, 3, 4, 6, 8, 31, 43})
"""Opcodes that a client may send; any other is an unknown opcode (4001)."""

BEFORE_IDENTIFY = frozenset({Opcode.HEARTBEAT, Opcode.IDENTIFY, Opcode.RESUME})
"""Opcodes that are allowed on a connection without a session."""

API_VERSION = 10
MAX_PAYLOAD_BYTES = 4096
MAX_SENDS = 120
SEND_WINDOW_S = 60.0
ALL_MEMBERS_INTERVAL_S = 30.0
MAX_REQUESTED_USERS = 100
MAX_NONCE_BYTES = 32
MEMBERS_PER_CHUNK = 1000

GUILDS = 1 << 0
GUILD_MEMBERS = 1 << 1
GUILD_VOICE_STATES = 1 << 7
GUILD_PRESENCES = 1 << 8
GUILD_MESSAGES = 1 << 9
KNOWN_INTENTS = (
    sum(1 << bit for bit in range(17)) | (1 << 20) | (1 << 21) | (1 << 24) | (1 << 25)
)  # fmt: skip
"""Every intent bit that Discord documents; any other bit is an invalid intent (4013)."""
