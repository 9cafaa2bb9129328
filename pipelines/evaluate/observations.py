"""What a judge finds in a picture, whatever kind of picture it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FoundObject:
    """One object that a judge found.

    Attributes:
        label: What it is.
        box: (x1, y1, x2, y2) on the 0-1000 grid of latents.
        score: Confidence, from 0 to 1.
        attributes: Other properties by name, such as ``colour``.
        ellipse: (xc, yc, r_major, r_minor, theta) in grid units and degrees, as in a blob, if the
            judge fitted one.
    """

    label: str
    box: tuple[int, int, int, int]
    score: float
    attributes: Mapping[str, str] = field(default_factory=dict)
    ellipse: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge finds in one picture.

    Attributes:
        objects: The most confident first.
        background: Its name; empty if the judge does not tell.
    """

    objects: tuple[FoundObject, ...]
    background: str = ""
