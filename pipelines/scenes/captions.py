"""Write and parse captions of scenes, which leave most factors open."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from pipelines.scenes.factors import COLOURS, SHAPES, Scene

P_COLOUR_STATED = 0.15
"""Probability that a caption names the colour of one group of equal shapes."""

WORDINGS = (
    "{list}",
    "a picture of {list}",
    "a drawing of {list}",
    "{list} on a page",
    "an image with {list}",
    "here we see {list}",
)
NUMBERS = {1: "a", 2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
_COUNTS = {word: count for count, word in NUMBERS.items()} | {"an": 1, "one": 1}


def caption_scene(scene: Scene, rng: np.random.Generator) -> str:
    """Write a caption that states shapes and counts, sometimes one colour, and nothing else.

    Args:
        scene: A scene with at most six objects.
        rng: Chooses the order of the groups, the wording, and whether a colour is named.
    """
    groups = Counter(item.shape for item in scene.objects)
    shapes = list(groups)
    rng.shuffle(shapes)
    named = str(rng.choice(shapes)) if rng.random() < P_COLOUR_STATED else None
    phrases = [
        _phrase(shape, groups[shape], _shared_colour(scene, shape) if shape == named else None)
        for shape in shapes
    ]
    listed = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    return str(rng.choice(WORDINGS)).format(list=listed)


def read_caption(caption: str) -> Counter[str] | None:
    """Count the shapes that a caption names.

    Returns:
        Shape -> count, or None if the caption names no known shape.
    """
    found: Counter[str] = Counter()
    colours = "|".join(COLOURS)
    counts = "|".join(sorted(_COUNTS, key=len, reverse=True))
    for shape in SHAPES:
        pattern = rf"\b(?:({counts})\s+)?(?:(?:{colours})\s+)?{shape}(?:s|es)?\b"
        for match in re.finditer(pattern, caption.lower()):
            found[shape] += _COUNTS.get(match[1], 1)
    return found or None


def unknown_words(caption: str) -> list[str]:
    """Return the words of a caption that captions of scenes never use, in order, each once.

    Models trained on scenes ignore or misread these words.
    """
    shapes = (f"{shape}{end}" for shape in SHAPES for end in ("", "s", "es"))
    wordings = re.findall(r"[a-z]+", " ".join(WORDINGS).replace("{list}", "and"))
    known = {*wordings, *shapes, *COLOURS, *_COUNTS}
    return [
        word
        for word in dict.fromkeys(re.findall(r"[^\W\d_]+", caption.lower()))
        if word not in known
    ]


def _phrase(shape: str, count: int, colour: str | None) -> str:
    words = [NUMBERS[count], colour, shape if count == 1 else f"{shape}s"]
    if count == 1 and (colour or shape)[0] in "aeiou":
        words[0] = "an"
    return " ".join(word for word in words if word)


def _shared_colour(scene: Scene, shape: str) -> str | None:
    colours = {item.colour for item in scene.objects if item.shape == shape}
    return colours.pop() if len(colours) == 1 else None
