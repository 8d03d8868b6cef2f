"""The coordinator: it grants shard leases and gates every Identify."""
