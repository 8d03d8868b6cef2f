"""What all parts of the simulated gateway share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway_sim.ledger import Ledger
from gateway_sim.referee import Referee
from gateway_sim.session_directory import SessionDirectory
from gateway_sim.standing_faults import StandingFaults

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway_sim.connection import Connection
    from gateway_sim.identify_gate import IdentifyGate
    from gateway_sim.settings import SimSettings
    from gateway_sim.world import World


@dataclass(slots=True)
class GatewayState:
    """The world, the rules and everything that happened; `resume_url` is set once the resume host listens."""

    settings: SimSettings
    world: World
    gate: IdentifyGate
    uncertainty_s: Callable[[], float]
    """How long ago, at most, the payload arrived that is being handled now."""
    referee: Referee = field(default_factory=Referee)
    ledger: Ledger = field(default_factory=Ledger)
    sessions: SessionDirectory = field(default_factory=SessionDirectory)
    faults: StandingFaults = field(default_factory=StandingFaults)
    connections: set[Connection] = field(default_factory=set)
    first_session: asyncio.Event = field(default_factory=asyncio.Event)
    resume_url: str = ""

    def violation(self, connection: Connection | None, rule: str, detail: str, at: float) -> None:
        """Record a violation of the client on this connection."""
        session = connection.session if connection else None
        self.referee.violation(
            rule,
            detail,
            shard=session.shard_id if session else None,
            session=session.session_id if session else None,
            at=at,
        )
