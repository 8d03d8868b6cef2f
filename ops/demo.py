"""`make demo`: a simulated Discord, a whole fleet, and what happens when one part after another goes.

Environment: DEMO_SECONDS (30), DEMO_RATE (dispatches per second and shard, 100). The last line is one JSON object; exit
code 0 only if nothing was lost, no rule of Discord's was broken, and each shard identified once. Ctrl-C ends it at
once: while it starts without a result, later with the result of what was played until then.
"""

from __future__ import annotations

import sys

from eventbus.errors import EXIT_INTERRUPTED


def main() -> None:
    """The command. What it needs is imported here, so that a Ctrl-C meanwhile ends it without a traceback."""
    try:
        from eventbus.process import run_main  # noqa: PLC0415
        from ops.demo_run import play  # noqa: PLC0415
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    run_main("demo", play)


if __name__ == "__main__":
    main()
