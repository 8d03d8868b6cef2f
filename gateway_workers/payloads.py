"""What a worker sends to Discord, as JSON bytes.

Source: https://discord.com/developers/docs/events/gateway-events#send-events
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from eventbus.messages import Session

HEARTBEAT = 1
IDENTIFY = 2
RESUME = 6
LARGE_THRESHOLD = 250
_PRODUCT = "hikari-relay"


def heartbeat(seq: int | None) -> bytes:
    """Op 1; `seq` is the last one received, None before the first."""
    return orjson.dumps({"op": HEARTBEAT, "d": seq})


def identify(
    *, bot_token: str, intents: int, shard: int, shard_count: int, presence: dict[str, Any] | None = None
) -> bytes:
    """Op 2; `presence` is what the session begins with: `d` of op 3, or Discord's usual one."""
    d: dict[str, Any] = {
        "token": bot_token,
        "properties": {"os": sys.platform, "browser": _PRODUCT, "device": _PRODUCT},
        "intents": intents,
        "shard": [shard, shard_count],
        "large_threshold": LARGE_THRESHOLD,
        "compress": False,
    }
    if presence is not None:
        d["presence"] = presence
    return orjson.dumps({"op": IDENTIFY, "d": d})


def resume(*, bot_token: str, session: Session) -> bytes:
    """Op 6."""
    return orjson.dumps({"op": RESUME, "d": {"token": bot_token, "session_id": session.session_id, "seq": session.seq}})
