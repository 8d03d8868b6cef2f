"""Logs of a process: one line for each record, with a stable `action`, the fields, and never a secret."""

from __future__ import annotations

import json
import logging
import sys
import time

import orjson

_RESERVED = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class _Formatter(logging.Formatter):
    def __init__(self, secrets: tuple[str, ...]) -> None:
        super().__init__()
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        text = self.line(record)
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def line(self, record: logging.LogRecord) -> str:
        when = time.strftime("%H:%M:%S", time.localtime(record.created)) + f".{int(record.msecs):03d}"
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items() if key != "action")
        text = f"{record.getMessage()}{fields}"
        return f"{when} {record.levelname:<7} {' '.join(text.splitlines())}"


class _JsonFormatter(_Formatter):
    def line(self, record: logging.LogRecord) -> str:
        entry = {
            "at": record.created,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        return orjson.dumps(entry, default=str).decode()


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in record.__dict__.items() if key not in _RESERVED}


def configure(level: str | int, log_format: str, *, secrets: tuple[str, ...] = ()) -> None:
    """Log to standard error from now on; every text in `secrets` is replaced by `***`."""
    handler = logging.StreamHandler(sys.stderr)
    forms = {form for secret in secrets for form in (secret, json.dumps(secret, ensure_ascii=False)[1:-1])}
    hidden = tuple(sorted((form for form in forms if len(form) > 3), key=len, reverse=True))
    handler.setFormatter(_JsonFormatter(hidden) if log_format == "json" else _Formatter(hidden))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for repeats_us in ("aio_pika", "aiormq"):  # with a traceback for every broker that is away
        logging.getLogger(repeats_us).setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(max(logging.WARNING, root.level))
