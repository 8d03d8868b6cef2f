"""A Discord that hands out sessions, keeps what a session missed, and sends it again after a Resume."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

import orjson

from eventbus.names import INTERACTION_CREATE
from gateway_workers.gateway_socket import SocketClosedError

if TYPE_CHECKING:
    from tests.lease_protocol.process import Process
    from tests.lease_protocol.world import World

_HELLO = orjson.dumps({"op": 10, "d": {"heartbeat_interval": 41250}})


class DiscordSession:
    """One session of one shard; `log[seq - 1]` is the dispatch `seq`."""

    def __init__(self, shard: int, number: int) -> None:
        self.shard = shard
        self.number = number
        self.session_id = f"session-{shard}-{number}"
        self.log: list[bytes] = []
        self.socket: MemorySocket | None = None
        self.is_over = False

    def is_interaction(self, seq: int) -> bool:
        return orjson.loads(self.log[seq - 1])["t"] == INTERACTION_CREATE

    def happen(self, event_type: str, data: dict[str, Any]) -> None:
        seq = len(self.log) + 1
        self.log.append(orjson.dumps({"t": event_type, "s": seq, "op": 0, "d": data}))
        if self.socket is not None:
            self.socket.push(self.log[-1])


class MemoryDiscord:
    """All sessions; each Identify makes a new one, which ends its shard's last."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sessions: dict[int, list[DiscordSession]] = {}

    def newest(self, shard: int) -> DiscordSession | None:
        """The session that lives, if any does."""
        known = self.sessions.get(shard)
        return None if not known or known[-1].is_over else known[-1]

    def find(self, session_id: str) -> DiscordSession | None:
        for sessions in self.sessions.values():
            for one in sessions:
                if one.session_id == session_id:
                    return one
        return None

    def happen(self, shard: int) -> None:
        """Something happens in a guild of the shard."""
        session = self.newest(shard)
        if session is not None:
            session.happen(INTERACTION_CREATE if len(session.log) % 3 == 0 else "MESSAGE_CREATE", {})

    def invalidate(self, shard: int) -> None:
        """Discord ends the session."""
        session = self.newest(shard)
        if session is not None:
            self._end(session)

    def _end(self, session: DiscordSession) -> None:
        session.is_over = True
        if session.socket is not None:
            session.socket.push(orjson.dumps({"op": 9, "d": False}))

    def on_payload(self, socket: MemorySocket, payload: dict[str, Any]) -> None:
        data = payload["d"]
        if payload["op"] == 1:
            socket.push(b'{"op":11}')
        elif payload["op"] == 2:
            self._identify(socket, data["shard"][0])
        elif payload["op"] == 6:
            self._resume(socket, data["session_id"], data["seq"])

    def _identify(self, socket: MemorySocket, shard: int) -> None:
        former = self.newest(shard)
        if former is not None:
            self._end(former)
        sessions = self.sessions.setdefault(shard, [])
        session = DiscordSession(shard, len(sessions) + 1)
        sessions.append(session)
        socket.session, session.socket = session, socket
        session.happen("READY", {"session_id": session.session_id, "resume_gateway_url": "wss://resume.discord.gg"})

    def _resume(self, socket: MemorySocket, session_id: str, seq: int) -> None:
        session = self.find(session_id)
        if session is None or session.is_over:
            socket.push(orjson.dumps({"op": 9, "d": False}))
            return
        if session.socket is not None:
            session.socket.end(4000)
        socket.session, session.socket = session, socket
        for frame in session.log[seq:]:
            socket.push(frame)
        session.happen("RESUMED", {})


class MemorySocket:
    """What `GatewaySocket` is to a shard."""

    def __init__(self, discord: MemoryDiscord, process: Process) -> None:
        self._discord = discord
        self.process = process
        self.session: DiscordSession | None = None
        self._frames: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._is_over = False
        self._code: int | None = None
        process.sockets.append(self)
        self.push(_HELLO)

    def push(self, frame: bytes) -> None:
        """Discord sends a frame."""
        if not self._is_over and self.process.is_alive:
            self.process.loop.call_soon(self._take, frame)

    def _take(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._news.set()

    def end(self, code: int | None) -> None:
        """Discord, or the death of the process, ends the connection."""
        if self.session is not None and self.session.socket is self:
            self.session.socket = None
        if not self._is_over and self.process.is_alive:
            self.process.loop.call_soon(self._on_end, code)

    def _on_end(self, code: int | None) -> None:
        self._is_over, self._code = True, code
        self._news.set()

    # GatewaySocket

    async def frame(self) -> bytes:
        while not self._frames:
            if self._is_over:
                raise SocketClosedError(self._code, "closed")
            self._news.clear()
            await self._news.wait()
        return self._frames.popleft()

    async def send(self, payload: bytes) -> None:
        if self._is_over:
            raise SocketClosedError(None, "closed")
        if self.process.is_alive:
            self._discord.on_payload(self, orjson.loads(payload))

    async def close(self, code: int) -> None:
        del code
        self.end(None)
        self._on_end(None)
        self._frames.clear()
