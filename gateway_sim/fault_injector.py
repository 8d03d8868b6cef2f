"""Puts faults into effect: at once on the open connections, or as standing faults."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import orjson

from gateway_sim.connection import HostMode
from gateway_sim.dispatch import Dispatch
from gateway_sim.opcodes import Opcode
from gateway_sim.session import SessionState

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway_sim.connection import Connection
    from gateway_sim.faults import Fault
    from gateway_sim.gateway import Gateway
    from gateway_sim.gateway_state import GatewayState
    from gateway_sim.listener import Listener
    from gateway_sim.session import Session


class FaultInjector:
    """Applies faults; each method returns how many connections or sessions it touched."""

    def __init__(self, state: GatewayState, gateway: Gateway, gateway_host: Listener, resume_host: Listener) -> None:
        self._state = state
        self._gateway = gateway
        self._hosts = {"gateway_host": gateway_host, "resume_host": resume_host}
        self._on_connection: dict[str, Callable[[Connection, Fault], None]] = {
            "drop": lambda connection, _: connection.drop(),
            "close": self._close,
            "reconnect": lambda connection, _: connection.send_control(Opcode.RECONNECT),
            "invalid_session": self._invalid_session,
            "withhold_acks": _withhold_acks,
            "stall": lambda connection, fault: connection.stall(fault.options["seconds"]),
            "heartbeat_request": _heartbeat_request,
            "malformed_frame": lambda connection, fault: connection.send_text(fault.options["text"].encode()),
        }

    async def apply(self, fault: Fault) -> int:
        """Put a fault into effect."""
        if fault.kind in self._hosts:
            await self._hosts[fault.kind].set_mode(HostMode(fault.options["mode"]))
            return 1
        if fault.kind == "reconnect" and fault.options["before_hello"]:
            self._state.faults.reconnects_before_hello += fault.options["count"]
            return 0
        if fault.kind in self._on_connection:
            touched = self._connections(fault)
            for connection in touched:
                self._on_connection[fault.kind](connection, fault)
            return len(touched)
        if fault.kind == "unknown_event":
            return self._unknown_event(fault)
        if fault.kind == "expire_sessions":
            return self._expire_sessions(fault)
        self._stand(fault)
        return self._dress_all()

    async def clear(self) -> None:
        """Lift every fault that lasts."""
        self._state.faults.clear()
        for host in self._hosts.values():
            await host.set_mode(HostMode.OK)
        for connection in self._state.connections:
            connection.acks_withheld_until = 0.0
        self._dress_all()

    def _connections(self, fault: Fault) -> list[Connection]:
        everyone = fault.shard is None and fault.session is None
        return [
            connection
            for connection in self._state.connections
            if everyone
            or (
                connection.session is not None
                and fault.shard in {None, connection.session.shard_id}
                and fault.session in {None, connection.session.session_id}
            )
        ]

    def _close(self, connection: Connection, fault: Fault) -> None:
        options = fault.options
        self._gateway.close(connection, options["code"], options["reason"], keep_session=options["keep_session"])

    def _invalid_session(self, connection: Connection, fault: Fault) -> None:
        session = connection.session
        self._gateway.part(connection)
        if session is not None and not fault.options["resumable"]:
            self._state.sessions.end(session, "op 9 false by a fault", time.time())
        connection.send_control(Opcode.INVALID_SESSION, fault.options["resumable"])

    def _unknown_event(self, fault: Fault) -> int:
        data = orjson.dumps(fault.options["data"])
        sessions = [session for session in self._state.sessions.alive() if _meant(fault, session)]
        for session in sessions:
            for _ in range(fault.options["count"]):
                session.tell(Dispatch(fault.options["type"], 0, self._state.world.next_id(), data), time.time())
        return len(sessions)

    def _expire_sessions(self, fault: Fault) -> int:
        sessions = [session for session in self._state.sessions.alive() if _meant(fault, session)]
        for session in sessions:
            session.resumable = False
            if session.state is SessionState.DISCONNECTED:
                self._state.sessions.end(session, "expired by a fault", time.time())
        return len(sessions)

    def _stand(self, fault: Fault) -> None:
        standing, options, shard = self._state.faults, fault.options, fault.shard
        match fault.kind:
            case "envelope":
                standing.envelope[shard] = options["order"]
            case "duplicate":
                standing.duplicate[shard] = options["probability"]
            case "slow_socket":
                standing.slow_socket[shard] = options["bytes_per_s"]
            case "refuse_resume":
                standing.refuse_resume[shard] = options["count"]
            case "missing_ready":
                standing.missing_ready_until[shard] = time.monotonic() + options["seconds"]

    def _dress_all(self) -> int:
        for connection in self._state.connections:
            self._gateway.start.dress(connection)
        return len(self._state.connections)


def _meant(fault: Fault, session: Session) -> bool:
    return fault.shard in {None, session.shard_id} and fault.session in {None, session.session_id}


def _withhold_acks(connection: Connection, fault: Fault) -> None:
    connection.acks_withheld_until = time.monotonic() + fault.options["seconds"]


def _heartbeat_request(connection: Connection, fault: Fault) -> None:
    del fault
    connection.beat_due_at = time.monotonic()
    connection.send_control(Opcode.HEARTBEAT)
