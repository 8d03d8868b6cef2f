"""Reads the body of a request: JSON, a multipart form with payload_json and files, or plain form fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import BodyPartReader

from gateway_sim.rest.call import Upload
from gateway_sim.rest.errors import DiscordError

if TYPE_CHECKING:
    from aiohttp import web

MOST_BYTES = 26 << 20
"""Discord takes files of 10 MiB and requests of 25 MiB: larger requests get HTTP 413."""


async def read_body(request: web.Request) -> tuple[Any, list[Upload]]:
    """The JSON body (None if there is none) and the uploaded files; DiscordError 400 for what is no JSON."""
    if request.content_type == "multipart/form-data":
        try:
            return await _read_form(request)
        except ValueError as error:
            raise DiscordError(400, 50035, "Invalid Form Body") from error
    if request.content_type == "application/x-www-form-urlencoded":
        return dict(await request.post()), []
    raw = await request.read()
    return (parse_json(raw) if raw else None), []


def parse_json(raw: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The value of a JSON text; DiscordError 400 if it is none."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DiscordError(400, 50109, "The request body contains invalid JSON.") from error


async def _read_form(request: web.Request) -> tuple[Any, list[Upload]]:
    fields: dict[str, str] = {}
    uploads: list[Upload] = []
    payload: Any = None
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader):
            raise DiscordError(400, 50035, "Invalid Form Body")
        content = bytes(await part.read(decode=True))
        if part.name == "payload_json":
            payload = parse_json(content)
        elif part.filename is not None:
            kind = part.headers.get("Content-Type", "application/octet-stream")
            uploads.append(Upload(part.filename, kind, len(content)))
        else:
            fields[part.name or ""] = content.decode("utf-8", "replace")
    return (payload if payload is not None else fields), uploads
