"""Running a fleet on one machine: the private broker, gw-run, gw-ctl and the demo."""
