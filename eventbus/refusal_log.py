"""What is not believed is counted, and logged once for each kind of it: whoever sends one such thing sends many."""

from __future__ import annotations

import logging

_log = logging.getLogger(__name__)

MAX_REPORTED_KEYS = 1000


class RefusalLog:
    """One place's. `sentence` and `action` are those of its log lines."""

    def __init__(self, sentence: str, *, action: str) -> None:
        self._sentence = sentence
        self._action = action
        self._reported: set[str] = set()
        self.refused_count = 0

    def refuse(self, key: str, **fields: object) -> None:
        """Count a refusal; log it with `fields` if it is the first with this key, up to MAX_REPORTED_KEYS keys."""
        self.refused_count += 1
        if key in self._reported or len(self._reported) >= MAX_REPORTED_KEYS:
            return
        self._reported.add(key)
        _log.warning(self._sentence, extra={"action": self._action, **fields, "refused_count": self.refused_count})
