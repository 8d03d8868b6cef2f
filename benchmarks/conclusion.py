"""The end of a benchmark that has bounds: one line of JSON, and an exit code."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from ops.chaos.reliability.bounds import broken_bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.chaos.reliability.bounds import Bound


def conclude(figures: dict[str, Any], bounds: Sequence[Bound]) -> None:
    """Print the figures as the last line, and end with exit code 1 if a bound does not hold."""
    broken = broken_bounds(bounds, figures)
    print(json.dumps({**figures, "bounds_broken": broken, "passed": not broken}))
    sys.exit(1 if broken else 0)
