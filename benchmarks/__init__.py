"""Measurements of the hot path, as ratios and CPU per dispatch; `make bench` runs them."""
