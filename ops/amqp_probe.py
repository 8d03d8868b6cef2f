"""Asks a port whether it speaks AMQP: the header is answered with Connection.Start."""

from __future__ import annotations

import asyncio
import struct

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
METHOD_FRAME = 1
CONNECTION_START = (10, 10)  # class and method id, AMQP 0-9-1
START_OF_FRAME = struct.Struct(">BHIHH")  # type, channel, size, class, method


async def answers_amqp(host: str, port: int, timeout_s: float) -> bool:
    """Whether a broker is ready there. A port that is closed, silent or speaks otherwise is not."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _handshake(host, port)
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False


async def _handshake(host: str, port: int) -> bool:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(PROTOCOL_HEADER)
        frame_type, channel, _, class_id, method_id = START_OF_FRAME.unpack(
            await reader.readexactly(START_OF_FRAME.size)
        )
        return (frame_type, channel) == (METHOD_FRAME, 0) and (class_id, method_id) == CONNECTION_START
    finally:
        writer.transport.abort()  # the broker would wait for the rest of the handshake
