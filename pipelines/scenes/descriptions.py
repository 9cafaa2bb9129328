"""Write and parse descriptions of scenes, which state everything that captions leave open."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipelines.scenes.factors import (
    ARRANGEMENTS,
    BACKGROUNDS,
    COLOURS,
    SHAPES,
    SIZES,
    TEXTURES,
    Scene,
    SceneObject,
)

ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "centre", "right")
NUMBERS = ("one", "two", "three", "four", "five", "six")

OBJECTS = (
    "a {size} {colour} {texture} {shape} at the {row} {column}",
    "a {size} {texture} {shape} in {colour} at the {row} {column}",
    "at the {row} {column} a {size} {colour} {texture} {shape}",
)
FRAMES = (
    "{objects}; arranged as {arrangement}; on {background}.",
    "On {background}, arranged as {arrangement}: {objects}.",
    "{number} on {background}: {objects}; arranged as {arrangement}.",
)
"""Wordings; the ground truth uses the first of each."""

_ARRANGEMENTS = tuple(dict.fromkeys(name for table in ARRANGEMENTS.values() for name in table))
_CHOICES = {
    "size": tuple(SIZES),
    "colour": COLOURS,
    "texture": TEXTURES,
    "shape": SHAPES,
    "row": ROWS,
    "column": COLUMNS,
}


def describe_scene(scene: Scene, rng: np.random.Generator | None = None) -> str:
    """Describe everything about a scene.

    Args:
        scene: A scene with at most six objects.
        rng: Chooses the wordings and puts the objects in reading order, which a captioner can
            infer from the picture. None takes the first wordings and the scene's own order.
    """
    items: Sequence[SceneObject] = scene.objects
    frame, wordings = FRAMES[0], [OBJECTS[0]] * len(items)
    if rng is not None:
        items = sorted(items, key=_place)
        frame = FRAMES[int(rng.integers(len(FRAMES)))]
        wordings = [OBJECTS[int(rng.integers(len(OBJECTS)))] for _ in items]
    words = [
        wording.format(
            size=item.size,
            colour=item.colour,
            texture=item.texture,
            shape=item.shape,
            row=ROWS[_place(item)[0]],
            column=COLUMNS[_place(item)[1]],
        )
        for wording, item in zip(wordings, items, strict=True)
    ]
    return frame.format(
        objects="; ".join(words),
        arrangement=scene.arrangement,
        background=scene.background,
        number=f"{NUMBERS[len(items) - 1].capitalize()} shape{'s' * (len(items) > 1)}",
    )


def _place(item: SceneObject) -> tuple[int, int]:
    return min(max(int(item.y * 3), 0), 2), min(max(int(item.x * 3), 0), 2)


def read_description(text: str) -> Counter[tuple[str, ...]]:
    """List the facts that a description states, independently of its wording.

    Returns:
        How often each fact is stated: ``("shape", "star")``, ``("colour", "star", "red")``, and so
        on for texture, size and place, and ``("arrangement", name)``, ``("background", name)``.
    """
    facts: Counter[tuple[str, ...]] = Counter()
    for wording in OBJECTS:
        for match in re.finditer(_pattern(wording), text):
            shape = match["shape"]
            facts["shape", shape] += 1
            for name in ("size", "colour", "texture"):
                facts[name, shape, match[name]] += 1
            facts["place", shape, match["row"], match["column"]] += 1
    for name, before, choices in (
        ("arrangement", "arranged as", _ARRANGEMENTS),
        ("background", "on", BACKGROUNDS),
    ):
        for match in re.finditer(rf"(?i)\b{before} ({'|'.join(choices)})\b", text):
            facts[name, match[1]] += 1
    return facts


def _pattern(wording: str) -> str:
    groups = {name: f"(?P<{name}>{'|'.join(choices)})" for name, choices in _CHOICES.items()}
    return rf"\b{wording.format(**groups)}\b"
