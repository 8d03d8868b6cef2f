"""The chaos harness: real processes under seeded faults, judged by the simulator's ledger."""
