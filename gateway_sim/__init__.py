"""A stand-in for Discord that judges its clients; it shares no code with the rest."""
