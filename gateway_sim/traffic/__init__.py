"""Seeded streams of realistic, all-different dispatches."""

from gateway_sim.traffic.kinds import MIXES
from gateway_sim.traffic.stream import Traffic

__all__ = ["MIXES", "Traffic"]
