"""Read the factors of scenes from the judge's verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np

from pipelines.evaluate.observations import FoundObject, Verdict
from pipelines.latents.text import GRID
from pipelines.scenes.draw import outline
from pipelines.scenes.factors import (
    ARRANGEMENTS,
    BACKGROUNDS,
    COLOURS,
    MAX_ROTATION,
    SIZE_JITTER,
    SIZES,
    TEXTURES,
    SceneObject,
    nearest_arrangements,
)
from pipelines.scenes.reference import Asked

PLACES = 3
"""Columns and rows of the grid of object places."""

UNARRANGED = "free"
"""The arrangement of pictures whose number of objects has no named arrangement."""

_SIZE_EDGES = [
    ((1.0 + SIZE_JITTER) * smaller + (1.0 - SIZE_JITTER) * larger) / 2.0
    for (_, smaller), (_, larger) in pairwise(SIZES.values())
]
"""Radii half-way between the greatest of one size and the least of the next."""

FactorValues = Sequence[tuple[np.ndarray, int]]
"""A factor in the pictures of one caption: for each captioned shape, or once per picture, the value
indices, int (pictures, objects), and a weight. Empty if the caption fixes the factor, as when it
states all colours."""


def factor_values(valid: Sequence[Verdict], asked: Asked, factor: str) -> FactorValues:
    """Read a factor from one caption's pictures.

    Args:
        valid: Verdicts on the pictures that show exactly the captioned objects.
        asked: The captioned objects; the counts of the shapes are the weights.
        factor: A factor of objects (see `of_objects`), ``background`` or ``arrangement``.
    """
    if factor == "background":
        return [(_numbered([verdict.background for verdict in valid], BACKGROUNDS)[:, None], 1)]
    if factor == "arrangement":
        names = tuple(ARRANGEMENTS.get(asked.shapes.total(), (UNARRANGED,)))
        return [(_numbered(arrangements(valid), names)[:, None], 1)]
    parts = []
    for shape, count in asked.shapes.items():
        if factor == "colour" and shape in asked.colours:
            continue
        objects = [item for verdict in valid for item in verdict.objects if item.label == shape]
        parts.append((of_objects(objects, factor).reshape(-1, count), count))
    return parts


def of_objects(objects: Sequence[FoundObject], factor: str) -> np.ndarray:
    """Return the value index of a factor for each object: int (objects,).

    Args:
        objects: Objects that the judge found.
        factor: ``colour`` or ``texture``, indexed as in `factors`; ``size``, from the smallest;
            or ``place``, row by row in a grid of `PLACES` from the upper left.
    """
    if factor == "colour":
        return _numbered([item.attributes["colour"] for item in objects], COLOURS)
    if factor == "texture":
        return _numbered([item.attributes["texture"] for item in objects], TEXTURES)
    boxes = _boxes(objects)
    if factor == "size":
        sides = np.sqrt(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0).prod(1))
        return np.searchsorted(_SIZE_EDGES, sides / [_side_of_unit(i.label) for i in objects])
    column, row = np.minimum(_centres(boxes) * PLACES, PLACES - 1).astype(int).T
    return row * PLACES + column


def arrangements(verdicts: Sequence[Verdict]) -> list[str]:
    """Return the arrangement of each picture's objects."""
    names = [UNARRANGED] * len(verdicts)
    for count in ARRANGEMENTS:
        numbers = [i for i, verdict in enumerate(verdicts) if len(verdict.objects) == count]
        boxes = _boxes([item for i in numbers for item in verdicts[i].objects])
        found = nearest_arrangements(_centres(boxes).reshape(-1, count, 2))
        for i, name in zip(numbers, found, strict=True):
            names[i] = name
    return names


def known_values(factor: str, count: int) -> int:
    """Return the number of values that a factor can take in a picture of `count` objects."""
    sizes = {
        "colour": len(COLOURS),
        "texture": len(TEXTURES),
        "place": PLACES**2,
        "size": len(SIZES),
        "background": len(BACKGROUNDS),
        "arrangement": len(ARRANGEMENTS.get(count, (UNARRANGED,))),
    }
    return sizes[factor]


@cache
def _side_of_unit(shape: str) -> float:
    """Return the mean box side of a shape of radius 1 over all rotations."""
    sides = []
    for turn in np.linspace(-MAX_ROTATION, MAX_ROTATION, 31):
        points = outline(SceneObject(shape, "", "", "", x=0.0, y=0.0, radius=1.0, rotation=turn))
        sides.append(np.sqrt(np.ptp(points, axis=0).prod()))
    return float(np.mean(sides))


def _numbered(names: Sequence[str], known: Sequence[str]) -> np.ndarray:
    return np.array([known.index(name) for name in names], dtype=int)


def _boxes(objects: Sequence[FoundObject]) -> np.ndarray:
    """Return boxes as fractions of the side: (objects, 4)."""
    return np.array([item.box for item in objects], dtype=np.float64).reshape(-1, 4) / GRID


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] + boxes[:, 2:]) / 2.0
