"""A JSON value as it comes from outside, of any shape."""

from __future__ import annotations

from typing import Any, TypeAlias

Json: TypeAlias = Any
"""An unchecked JSON value: object, list, text, number, bool or null."""
