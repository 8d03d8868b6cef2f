"""The verdict: what was sent, what the clients did, and which rules they broke."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway_sim.gateway_state import GatewayState


def verdict(state: GatewayState, unknown_routes: dict[str, int]) -> dict[str, Any]:
    """Return the verdict as JSON. `sessions` counts them by state; a clean run has no violations."""
    states = Counter(session.state.value for session in state.sessions)
    return {
        "sent": state.ledger.sent,
        "replayed": state.ledger.replayed,
        "by_type": state.ledger.by_type(),
        **state.referee.summary(),
        "sessions": {"total": states.total(), **states},
        "connections": len(state.connections),
        "unknown_routes": unknown_routes,
    }
