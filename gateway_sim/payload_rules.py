"""What a client's payload must look like; each refusal names the close code and the broken rule."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypeGuard

from gateway_sim.json_value import Json
from gateway_sim.opcodes import BEFORE_IDENTIFY, KNOWN_INTENTS, MAX_PAYLOAD_BYTES, SENT_BY_CLIENTS, CloseCode, Opcode

_STATUSES = frozenset({"online", "dnd", "idle", "invisible", "offline"})


@dataclass(frozen=True, slots=True)
class Refusal(Exception):  # noqa: N818 - it is Discord's answer, not an error of ours
    """A payload that Discord answers by closing the connection."""

    code: CloseCode
    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class Identify:
    """A well-formed Identify; `shard` is None if the client left it out."""

    token: str
    intents: int
    shard: tuple[int, int] | None
    compress: bool


@dataclass(frozen=True, slots=True)
class Resume:
    """A well-formed Resume."""

    token: str
    session_id: str
    seq: int


def _decode_error(detail: str) -> Refusal:
    return Refusal(CloseCode.DECODE_ERROR, "bad_payload", detail)


def parse_payload(raw: bytes) -> tuple[int, Json]:
    """Return (op, d) of a payload; raises Refusal with 4001 or 4002."""
    if len(raw) > MAX_PAYLOAD_BYTES:
        detail = f"A payload has {len(raw)} bytes; at most {MAX_PAYLOAD_BYTES} are allowed."
        raise Refusal(CloseCode.DECODE_ERROR, "payload_too_big", detail)
    try:
        payload = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _decode_error(f"A payload is not JSON: {error}") from None
    if not isinstance(payload, dict) or not _is_int(payload.get("op")):
        raise _decode_error("A payload must be an object with an integer 'op'.")
    op: int = payload["op"]
    if op not in SENT_BY_CLIENTS:
        raise Refusal(CloseCode.UNKNOWN_OPCODE, "unknown_opcode", f"A client may not send opcode {op}.")
    return op, payload.get("d")


def check_order(op: int, *, has_session: bool) -> None:
    """Refuse a command before Identify (4003) and a second Identify or Resume (4005)."""
    if not has_session and op not in BEFORE_IDENTIFY:
        detail = f"Opcode {op} came before Identify or Resume."
        raise Refusal(CloseCode.NOT_AUTHENTICATED, "payload_before_identify", detail)
    if has_session and op in {Opcode.IDENTIFY, Opcode.RESUME}:
        detail = f"Opcode {op} came on a connection that has a session already."
        raise Refusal(CloseCode.ALREADY_AUTHENTICATED, "already_authenticated", detail)


def parse_identify(d: Json) -> Identify:
    """Check an Identify; raises Refusal with 4002, 4004 or 4013."""
    if not isinstance(d, dict):
        raise _decode_error("The 'd' of an Identify must be an object.")
    token = d.get("token")
    if not isinstance(token, str):
        raise Refusal(CloseCode.AUTHENTICATION_FAILED, "wrong_bot_token", "An Identify has no bot token.")
    if not isinstance(d.get("properties"), dict):
        raise _decode_error("An Identify must have 'properties' with os, browser and device.")
    intents = d.get("intents")
    if not _is_int(intents) or intents & ~KNOWN_INTENTS:
        raise Refusal(CloseCode.INVALID_INTENTS, "invalid_intents", f"Intents {intents!r} are not valid.")
    presence = d.get("presence")
    if presence is not None:
        check_presence(presence)
    return Identify(token.removeprefix("Bot "), intents, _parse_shard(d.get("shard")), d.get("compress") is True)


def _parse_shard(shard: Json) -> tuple[int, int] | None:
    if shard is None:
        return None
    if not isinstance(shard, list) or len(shard) != 2 or not all(_is_int(part) for part in shard):
        raise _decode_error(f"'shard' must be [shard id, shard count], not {shard!r}.")
    return shard[0], shard[1]


def parse_resume(d: Json) -> Resume:
    """Check a Resume; raises Refusal with 4002."""
    if not isinstance(d, dict):
        raise _decode_error("The 'd' of a Resume must be an object.")
    token, session_id, seq = d.get("token"), d.get("session_id"), d.get("seq")
    if not isinstance(token, str) or not isinstance(session_id, str) or not _is_int(seq) or seq < 0:
        raise _decode_error("A Resume needs 'token', 'session_id' and an integer 'seq'.")
    return Resume(token.removeprefix("Bot "), session_id, seq)


def check_shard(shard: tuple[int, int], *, required_multiple: int, guild_count: int, max_guilds: int) -> None:
    """Refuse an impossible shard (4010) and one that holds too many guilds (4011)."""
    shard_id, shard_count = shard
    if shard_count < 1 or not 0 <= shard_id < shard_count:
        detail = f"Shard {shard_id} of {shard_count} does not exist."
        raise Refusal(CloseCode.INVALID_SHARD, "invalid_shard", detail)
    if shard_count % required_multiple:
        detail = f"The shard count {shard_count} is not a multiple of {required_multiple}."
        raise Refusal(CloseCode.INVALID_SHARD, "invalid_shard", detail)
    if guild_count > max_guilds:
        detail = f"Shard {shard_id} of {shard_count} would hold {guild_count} guilds; at most {max_guilds} are allowed."
        raise Refusal(CloseCode.SHARDING_REQUIRED, "sharding_required", detail)


def check_intents(intents: int, *, disallowed: int) -> None:
    """Refuse privileged intents that the application has not been granted (4014)."""
    if intents & disallowed:
        detail = f"Intents {intents & disallowed} are not granted to this application."
        raise Refusal(CloseCode.DISALLOWED_INTENTS, "disallowed_intents", detail)


def check_heartbeat(d: Json) -> None:
    """Refuse a heartbeat whose `d` is neither null nor a seq (4002)."""
    if d is not None and (not _is_int(d) or d < 0):
        raise _decode_error(f"The 'd' of a heartbeat must be the last seq or null, not {d!r}.")


def check_presence(d: Json) -> None:
    """Refuse a malformed presence (4002)."""
    if not isinstance(d, dict) or d.get("status") not in _STATUSES or not isinstance(d.get("activities", []), list):
        raise _decode_error("A presence needs a known 'status' and a list of 'activities'.")
    since = d.get("since")
    if since is not None and not _is_int(since):
        raise _decode_error("'since' of a presence must be milliseconds or null.")


def parse_snowflake(d: Json, key: str) -> int:
    """Return the snowflake under `key`; raises Refusal with 4002."""
    value = d.get(key) if isinstance(d, dict) else None
    if isinstance(value, str) and value.isdecimal() and value.isascii():
        return int(value)
    if _is_int(value) and value >= 0:
        return int(value)
    raise _decode_error(f"'{key}' must be a snowflake, not {value!r}.")


def _is_int(value: Json) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
