"""Gateway workers: they hold Discord's gateway sessions under leases and publish raw dispatches."""
