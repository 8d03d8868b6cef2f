"""Dead letters as a person reads them, and as JSON. Nothing in a letter reaches the terminal as a control character."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eventbus.dead_letter import DeadLetter

MAX_REASON_LENGTH = 60
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60))


def print_json(value: object) -> None:
    """One line of JSON; what JSON cannot say becomes a text."""
    sys.stdout.buffer.write(orjson.dumps(value, default=_as_text, option=orjson.OPT_NON_STR_KEYS) + b"\n")
    sys.stdout.buffer.flush()


def print_letters(group: str, count: int, letters: Sequence[DeadLetter], now: float) -> None:
    """The number of letters and a table of those that were asked for."""
    console = Console()
    console.print(Text(f"{count} dead letters in group {group}; {len(letters)} shown, oldest first"))
    if not letters:
        return
    table = Table("age", "type", "shard", "attempts")
    table.add_column("message_id", overflow="fold")
    table.add_column("origin", overflow="fold")
    table.add_column("reason")
    for letter in letters:
        reason = letter.reason if len(letter.reason) <= MAX_REASON_LENGTH else letter.reason[:MAX_REASON_LENGTH] + "…"
        cells = (_age(letter.age_s(now)), letter.event_type, letter.shard, letter.attempts)
        texts = (letter.message_id, letter.origin, reason)
        table.add_row(*(Text("-" if cell is None else plain(str(cell))) for cell in (*cells, *texts)))
    console.print(table)


def print_letter(letter: DeadLetter, now: float) -> None:
    """Everything about one letter."""
    lines = [f"dead letter {letter.message_id}", f"reason: {letter.reason}", f"origin: {letter.origin or '-'}"]
    lines += [f"attempts: {letter.attempts or '-'}", f"sent again before: {letter.retried}"]
    lines += [f"age: {_age(letter.age_s(now))}", "properties:"]
    lines += [f"  {name}: {value}" for name, value in letter.properties.items() if value is not None]
    lines += ["headers:", *(f"  {name}: {value!r}" for name, value in sorted(letter.headers.items()))]
    lines = [plain(line) for line in lines]
    sys.stdout.write("\n".join([*lines, f"body, {len(letter.body)} bytes:", body_text(letter.body)]) + "\n")


def as_record(letter: DeadLetter, now: float) -> dict[str, Any]:
    """A letter as JSON, without its body."""
    return {
        "message_id": letter.message_id,
        "type": letter.event_type,
        "shard": letter.shard,
        "age_s": letter.age_s(now),
        "attempts": letter.attempts,
        "retried": letter.retried,
        "origin": letter.origin,
        "reason": letter.reason,
    }


def as_full_record(letter: DeadLetter, now: float) -> dict[str, Any]:
    """A letter as JSON; `body` is what its JSON says, `body_text` is the text of a body that is none."""
    properties: Mapping[str, Any] = {name: value for name, value in letter.properties.items() if value is not None}
    record = {**as_record(letter, now), "properties": properties, "headers": dict(letter.headers)}
    try:
        return {**record, "body": orjson.loads(letter.body)}
    except orjson.JSONDecodeError:
        return {**record, "body_text": body_text(letter.body)}


def body_text(body: bytes) -> str:
    """JSON indented, or the text with escapes for what is none."""
    try:
        text = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        text = body.decode(errors="backslashreplace")
    return "\n".join(plain(line) for line in text.split("\n"))


def plain(text: str) -> str:
    """`text` with escapes instead of control characters."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, unit_s in _UNITS:
        if seconds >= unit_s:
            return f"{int(seconds // unit_s)}{unit}"
    return f"{int(seconds)}s"


def _as_text(value: object) -> str:
    return body_text(bytes(value)) if isinstance(value, bytes | bytearray) else str(value)
