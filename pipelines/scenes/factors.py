"""The factors of a scene and their joint distribution, as plain tables.

There are two groups of factors, which guidance is expected to treat differently:

* correlated with the caption: colour and texture depend on the shape, arrangement on the count.
  Strong guidance should collapse these;
* independent of the caption: size, rotation and background. Guidance should leave these unchanged.

The joint is p(count) · Π p(shape) · p(arrangement | count) · p(background)
· Π p(colour | shape) p(texture | shape) p(size) p(rotation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from pipelines.core.seeds import derive

SHAPES = ("circle", "square", "oval", "star", "hexagon", "heart", "triangle")
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
TEXTURES = ("plain", "striped")
BACKGROUNDS = ("paper", "slate", "fog", "check")

P_SHAPE = (0.28, 0.21, 0.17, 0.13, 0.0, 0.11, 0.10)
"""p(shape), in the order of SHAPES. Hexagons occur in hard scenes only: at 32 pixels, a hexagon
differs from a circle or a rotated square in about six pixels."""

P_SHAPE_HARD = (0.26, 0.19, 0.16, 0.12, 0.11, 0.09, 0.07)
"""p(shape) in hard scenes."""

P_COUNT = {1: 0.4, 2: 0.35, 3: 0.25}
P_BACKGROUND = (0.4, 0.3, 0.2, 0.1)
P_STRIPED = (0.1, 0.6, 0.2, 0.15, 0.7, 0.1, 0.5)
"""p(texture = striped | shape), in the order of SHAPES."""

_FAVOURITES = (0, 5, 3, 2, 6, 7, 1)
_RANKED = (0.40, 0.20, 0.12, 0.08, 0.06, 0.05, 0.05, 0.04)
P_COLOUR = np.array([[_RANKED[(c - f) % 8] for c in range(8)] for f in _FAVOURITES])
"""p(colour | shape), (7, 8): every shape has its own most likely colour and a long tail."""

ARRANGEMENTS: dict[int, dict[str, tuple[float, tuple[tuple[float, float], ...]]]] = {
    1: {
        "centre": (0.45, ((0.5, 0.5),)),
        "left": (0.22, ((0.25, 0.5),)),
        "right": (0.15, ((0.75, 0.5),)),
        "top": (0.10, ((0.5, 0.25),)),
        "bottom": (0.08, ((0.5, 0.75),)),
    },
    2: {
        "row": (0.50, ((0.28, 0.5), (0.72, 0.5))),
        "column": (0.28, ((0.5, 0.28), (0.5, 0.72))),
        "diagonal": (0.22, ((0.3, 0.3), (0.7, 0.7))),
    },
    3: {
        "triangle": (0.50, ((0.5, 0.26), (0.26, 0.72), (0.74, 0.72))),
        "row": (0.30, ((0.19, 0.5), (0.5, 0.5), (0.81, 0.5))),
        "diagonal": (0.20, ((0.22, 0.22), (0.5, 0.5), (0.78, 0.78))),
    },
}
"""Count -> name -> (p(arrangement | count), anchors as fractions of the image's side)."""

SIZES = {"small": (0.5, 0.145), "medium": (0.33, 0.18), "large": (0.17, 0.22)}
"""Name -> (probability, radius as a fraction of the image's side)."""

PLACE_JITTER = 0.045
SIZE_JITTER = 0.08
MAX_ROTATION = 15.0
"""Degrees in either direction. At 30 degrees the mean of a square or a star is nearly a disc, and
a denoiser learns such means first."""


@dataclass(frozen=True, slots=True)
class SceneObject:
    """A shape; position and radius are fractions of the side, rotation is in degrees, clockwise."""

    shape: str
    colour: str
    texture: str
    size: str
    x: float
    y: float
    radius: float
    rotation: float


@dataclass(frozen=True, slots=True)
class Scene:
    """The contents of a picture; later objects cover earlier ones."""

    objects: tuple[SceneObject, ...]
    arrangement: str
    background: str

    @property
    def combination(self) -> tuple[str, ...]:
        """The sorted shapes. The held-out split is made of whole combinations."""
        return tuple(sorted(item.shape for item in self.objects))

    @property
    def split(self) -> str:
        """``heldout`` for about a quarter of the combinations of 2 or 3 shapes, else ``train``."""
        if len(self.objects) == 1:
            return "train"
        return "heldout" if derive(0, "split", " ".join(self.combination)) % 4 == 0 else "train"


def sample_scene(rng: np.random.Generator, hard: bool = False) -> Scene:
    """Draw a scene from the joint distribution.

    Args:
        rng: The source of all randomness.
        hard: Allow up to six freely placed objects, all shapes and any rotation.
    """
    count = int(rng.integers(1, 7)) if hard else int(rng.choice(3, p=list(P_COUNT.values()))) + 1
    if hard:
        arrangement, anchors = "free", tuple(map(tuple, rng.uniform(0.15, 0.85, (count, 2))))
    else:
        table = ARRANGEMENTS[count]
        arrangement = str(rng.choice(list(table), p=[p for p, _ in table.values()]))
        anchors = table[arrangement][1]
    order = rng.permutation(count)
    turn = 180.0 if hard else MAX_ROTATION
    p_shape = P_SHAPE_HARD if hard else P_SHAPE
    objects = tuple(_sample_object(rng, anchors[place], turn, p_shape) for place in order)
    background = str(rng.choice(BACKGROUNDS, p=P_BACKGROUND))
    return Scene(objects, arrangement, background)


def _sample_object(
    rng: np.random.Generator, anchor: tuple[float, float], turn: float, p_shape: Sequence[float]
) -> SceneObject:
    shape = int(rng.choice(len(SHAPES), p=p_shape))
    size = str(rng.choice(list(SIZES), p=[p for p, _ in SIZES.values()]))
    x, y = np.asarray(anchor) + rng.uniform(-PLACE_JITTER, PLACE_JITTER, 2)
    radius = SIZES[size][1] * (1.0 + rng.uniform(-SIZE_JITTER, SIZE_JITTER))
    return SceneObject(
        shape=SHAPES[shape],
        colour=COLOURS[int(rng.choice(len(COLOURS), p=P_COLOUR[shape]))],
        texture=TEXTURES[int(rng.random() < P_STRIPED[shape])],
        size=size,
        x=float(x),
        y=float(y),
        radius=float(radius),
        rotation=float(rng.uniform(-turn, turn)),
    )


def nearest_arrangements(centres: np.ndarray) -> list[str]:
    """Return the arrangement whose anchors are nearest to the object centres of each scene.

    Args:
        centres: (scenes, n, 2), x and y as fractions of the side, n from 1 to 3, in any order.

    Returns:
        One key of ``ARRANGEMENTS[n]`` per scene.
    """
    count = centres.shape[1]
    names, places = [], []
    for name, (_, anchors) in ARRANGEMENTS[count].items():
        for order in permutations(anchors):
            names.append(name)
            places.append(order)
    gaps = centres[:, None] - np.array(places)
    return [names[i] for i in np.square(gaps).sum((2, 3)).argmin(1)]


def colour_distribution(shapes: tuple[str, ...]) -> np.ndarray:
    """Return p(colour) of an object drawn at random from the given shapes: (8,), summing to 1."""
    return np.mean([P_COLOUR[SHAPES.index(shape)] for shape in shapes], axis=0)


def texture_distribution(shapes: tuple[str, ...]) -> np.ndarray:
    """Return p(plain) and p(striped) of an object drawn at random from the given shapes: (2,)."""
    striped = float(np.mean([P_STRIPED[SHAPES.index(shape)] for shape in shapes]))
    return np.array([1.0 - striped, striped])


def arrangement_distribution(count: int) -> dict[str, float]:
    """Return p(arrangement | count)."""
    return {name: p for name, (p, _) in ARRANGEMENTS[count].items()}
