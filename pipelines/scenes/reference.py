"""Real pictures to compare with: fresh scenes that the same captions could have described."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.core.seeds import generator
from pipelines.scenes.captions import read_caption
from pipelines.scenes.draw import draw_scene
from pipelines.scenes.factors import (
    COLOURS,
    P_COLOUR,
    P_COUNT,
    P_STRIPED,
    SHAPES,
    TEXTURES,
    Scene,
    sample_scene,
)


@dataclass(frozen=True)
class Asked:
    """What a caption asks for.

    Attributes:
        shapes: With their counts.
        colours: Of the shapes whose colour it states.
    """

    shapes: Counter[str]
    colours: Mapping[str, str]

    @classmethod
    def by(cls, caption: str) -> Asked:
        """Read a caption.

        Raises:
            KaleidoError: As `asked_shapes`.
        """
        return cls(asked_shapes(caption), stated_colours(caption))


def asked_shapes(caption: str) -> Counter[str]:
    """Return the shapes that a caption asks for, with their counts.

    Raises:
        KaleidoError: If it names none, or more objects than a scene has: this form of the
            evaluation knows the modes of scenes only.
    """
    asked = read_caption(caption)
    if asked is None or sum(asked.values()) > max(P_COUNT):
        raise KaleidoError(
            f"caption {caption[:60]!r}",
            f"it does not ask for one to {max(P_COUNT)} of the shapes that the judge knows.",
            f"Evaluate captions of scenes. Known shapes: {', '.join(SHAPES)}.",
        )
    return asked


def stated_colours(caption: str) -> dict[str, str]:
    """Return the colours that a caption states: shape -> colour."""
    pattern = rf"\b({'|'.join(COLOURS)})\s+({'|'.join(SHAPES)})(?:s|es)?\b"
    return {match[2]: match[1] for match in re.finditer(pattern, caption.lower())}


def scene_for(caption: str, rng: np.random.Generator) -> Scene:
    """Draw a scene from the data's distribution given a caption.

    Objects are independent given their number, so the conditional is exact: a scene of that many
    objects, the captioned shapes in random order, colour and texture drawn again given the shape.

    Raises:
        KaleidoError: As `asked_shapes`.
    """
    asked = Asked.by(caption)
    shapes = rng.permutation(sorted(asked.shapes.elements()))
    scene = sample_scene(rng)
    while len(scene.objects) != len(shapes):
        scene = sample_scene(rng)
    objects = []
    for item, shape in zip(scene.objects, shapes, strict=True):
        row = SHAPES.index(shape)
        colour = COLOURS[int(rng.choice(len(COLOURS), p=P_COLOUR[row]))]
        texture = TEXTURES[int(rng.random() < P_STRIPED[row])]
        objects.append(
            replace(
                item,
                shape=str(shape),
                colour=asked.colours.get(str(shape), colour),
                texture=texture,
            )
        )
    return replace(scene, objects=tuple(objects))


def reference_scenes(caption: str, n: int, seed: int, purpose: str) -> list[Scene]:
    """Draw `n` scenes for a caption.

    Args:
        caption: What they could be captioned.
        n: How many.
        seed: With caption and purpose it decides the scenes.
        purpose: ``reference``, or ``data`` for the second set that shows what real pictures score.
    """
    rng = generator(seed, purpose, caption)
    return [scene_for(caption, rng) for _ in range(n)]


def reference_images(caption: str, n: int, seed: int, purpose: str, size: int = 64) -> np.ndarray:
    """Draw `n` real pictures for a caption, those of `reference_scenes`.

    Returns:
        uint8 (n, size, size, 3).
    """
    return scene_images(reference_scenes(caption, n, seed, purpose), size)


def scene_images(scenes: Sequence[Scene], size: int) -> np.ndarray:
    """Draw scenes: uint8 (n, size, size, 3)."""
    return np.stack([draw_scene(scene, size).pixels for scene in scenes])
