"""Write captions of concepts. They never name the style, which the model has to choose."""

from __future__ import annotations

import numpy as np

from pipelines.data.emoji.drawings import Concept

MOST_TAGS = 3


def caption_concept(concept: Concept, rng: np.random.Generator) -> str:
    """Write a caption: the concept's name, sometimes in a phrase, sometimes with some tags."""
    name = named(concept.label)
    frame = ("{}", "a drawing of: {}", "a picture of: {}", "an icon, {}")[int(rng.integers(4))]
    tags = [tag for tag in concept.tags if tag.lower() not in name.lower()]
    chosen = rng.permutation(len(tags))[: int(rng.integers(MOST_TAGS + 1))]
    return ", ".join([frame.format(name), *(tags[index] for index in sorted(chosen))])


def named(label: str) -> str:
    """Turn a label into words: "flag: Chad" into "flag of Chad", "keycap: 1" into "keycap, 1"."""
    kind, colon, rest = label.partition(": ")
    if not colon:
        return label
    return f"flag of {rest}" if kind == "flag" else f"{kind}, {rest}"
