"""Numbers of evaluations in tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def number(value: float | None) -> str:
    """Write a number; a dash for none."""
    return "–" if value is None or math.isnan(value) else f"{value:.3g}"


def ends(row: Mapping[str, Any]) -> str:
    """Write the ends of a row's interval; a dash for none."""
    ends = [number(row[end]) for end in ("low", "high")]
    return "–" if "–" in ends else " to ".join(ends)
