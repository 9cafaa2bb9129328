"""Draw reference pictures: fresh scenes from the data's distribution given a caption."""

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
    """The objects that a caption asks for.

    Attributes:
        shapes: Shape -> count.
        colours: Shape -> colour, for shapes whose colour the caption states.
    """

    shapes: Counter[str]
    colours: Mapping[str, str]

    @classmethod
    def by(cls, caption: str) -> Asked:
        """Parse a caption.

        Raises:
            KaleidoError: See `asked_shapes`.
        """
        return cls(asked_shapes(caption), stated_colours(caption))


def asked_shapes(caption: str) -> Counter[str]:
    """Return the shapes that a caption asks for, with their counts.

    Raises:
        KaleidoError: If it names no shapes, or more objects than a scene can have.
    """
    asked = read_caption(caption)
    if asked is None or sum(asked.values()) > max(P_COUNT):
        raise KaleidoError(
            f"caption {caption[:60]!r}",
            f"it does not ask for one to {max(P_COUNT)} of the judge's shapes.",
            f"Use captions of scenes. Known shapes: {', '.join(SHAPES)}.",
            code="not-comparable",
        )
    return asked


def stated_colours(caption: str) -> dict[str, str]:
    """Return the colours that a caption states: shape -> colour."""
    pattern = rf"\b({'|'.join(COLOURS)})\s+({'|'.join(SHAPES)})(?:s|es)?\b"
    return {match[2]: match[1] for match in re.finditer(pattern, caption.lower())}


def scene_for(caption: str, rng: np.random.Generator) -> Scene:
    """Draw a scene from the data's distribution given a caption.

    Objects are independent given their number, so the conditional is exact: sample a scene with
    that many objects, assign the captioned shapes in random order, and resample colour and texture
    given the shape.

    Raises:
        KaleidoError: See `asked_shapes`.
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
        caption: The caption to condition on.
        n: Number of scenes.
        seed: Determines the scenes, together with caption and purpose.
        purpose: ``reference``, or ``data`` for the second set, which is scored like a model's.
    """
    rng = generator(seed, purpose, caption)
    return [scene_for(caption, rng) for _ in range(n)]


def reference_images(caption: str, n: int, seed: int, purpose: str, size: int = 64) -> np.ndarray:
    """Draw the pictures of `reference_scenes`.

    Returns:
        uint8 (n, size, size, 3).
    """
    return scene_images(reference_scenes(caption, n, seed, purpose), size)


def scene_images(scenes: Sequence[Scene], size: int) -> np.ndarray:
    """Draw scenes: uint8 (n, size, size, 3)."""
    return np.stack([draw_scene(scene, size).pixels for scene in scenes])
