"""Payloads as bytes: the envelope {t, s, op, d} around a dispatch, and websocket frames around payloads."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Sequence

    from gateway_sim.json_value import Json
    from gateway_sim.replay_buffer import Entry

TEXT = 0x81
BINARY = 0x82
KEYS = ("t", "s", "op", "d")

_HEADER_16 = Struct("!BBH").pack
_HEADER_64 = Struct("!BBQ").pack


class _Heads(dict[str, bytes]):
    """`{"t":"TYPE","s":` per event type."""

    def __missing__(self, event_type: str) -> bytes:
        head = self[event_type] = b'{"t":' + orjson.dumps(event_type) + b',"s":'
        return head


_HEADS = _Heads()


def dispatch_payloads(entries: Sequence[Entry]) -> list[bytes]:
    """Return the payload of each dispatch, with the keys in Discord's usual order."""
    heads = _HEADS
    return [b'%b%d,"op":0,"d":%b}' % (heads[dispatch.type], seq, dispatch.data) for seq, _, dispatch in entries]


class KeyOrder:
    """Another order of the envelope's keys: a fixed one, or a new one for each payload (`order` None)."""

    def __init__(self, order: Sequence[str] | None, rng: random.Random) -> None:
        if order is not None and sorted(order) != sorted(KEYS):
            msg = f"The envelope's order must be a permutation of {list(KEYS)} or 'random', not {order!r}."
            raise ValueError(msg)
        self._order = order
        self._rng = rng

    def payloads(self, entries: Sequence[Entry]) -> list[bytes]:
        """Return the payload of each dispatch, with the keys in this order."""
        return [self._payload(entry) for entry in entries]

    def _payload(self, entry: Entry) -> bytes:
        seq, _, dispatch = entry
        values = {"t": orjson.dumps(dispatch.type), "s": b"%d" % seq, "op": b"0", "d": dispatch.data}
        order = self._order if self._order is not None else self._rng.sample(KEYS, len(KEYS))
        return b"{" + b",".join(b'"%b":%b' % (key.encode(), values[key]) for key in order) + b"}"


def control_payload(op: int, d: Json) -> bytes:
    """Return a payload that is no dispatch: `s` and `t` are null."""
    return orjson.dumps({"t": None, "s": None, "op": op, "d": d})


def frames(first_byte: int, messages: Iterable[bytes]) -> bytes:
    """Return the messages as unmasked, unfragmented websocket frames (RFC 6455, 5.2), one after the other."""
    pieces: list[bytes] = []
    append = pieces.append
    for message in messages:
        size = len(message)
        if size < 126:
            append(bytes((first_byte, size)))
        elif size < 65536:
            append(_HEADER_16(first_byte, 126, size))
        else:
            append(_HEADER_64(first_byte, 127, size))
        append(message)
    return b"".join(pieces)
