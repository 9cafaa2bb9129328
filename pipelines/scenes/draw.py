"""Draw scenes at any size, antialiased by four-fold supersampling."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

from pipelines.scenes.factors import Scene, SceneObject

SUPERSAMPLE = 4
RGB = {
    "red": (220, 40, 40),
    "orange": (245, 135, 25),
    "yellow": (250, 215, 40),
    "green": (50, 165, 70),
    "teal": (25, 180, 185),
    "blue": (45, 85, 215),
    "purple": (130, 50, 170),
    "pink": (245, 120, 180),
}
STRIPE_RATIO = 0.75
"""Width of one light-and-dark period as a fraction of the radius."""


@dataclass(frozen=True)
class Drawing:
    """A drawn scene.

    Attributes:
        pixels: uint8 (size, size, 3), RGB.
        masks: bool (n, size, size), the visible pixels of each object.
        visible: (n,), the visible share of each object's area, from 0 to 1.
    """

    pixels: np.ndarray
    masks: np.ndarray
    visible: np.ndarray


def draw_scene(scene: Scene, size: int = 64) -> Drawing:
    """Draw a scene at `size` by `size` pixels."""
    side = size * SUPERSAMPLE
    canvas = background_pixels(scene.background, side).copy()
    layers = np.empty((len(scene.objects), side, side), dtype=bool)
    for layer, item in zip(layers, scene.objects, strict=True):
        layer[:] = _silhouette(item, side)
        _paint(canvas, layer, item, side)
    visible = layers.copy()
    covered = np.zeros((side, side), dtype=bool)
    for index in range(len(layers) - 1, -1, -1):
        visible[index] &= ~covered
        covered |= layers[index]
    share = visible.sum((1, 2)) / np.maximum(layers.sum((1, 2)), 1)
    pixels = np.asarray(Image.fromarray(canvas).reduce(SUPERSAMPLE))
    return Drawing(pixels, _shrink_masks(visible, size), share)


def outline(item: SceneObject) -> np.ndarray:
    """Return the object's outline as a polygon: (k, 2), fractions of the side."""
    angle = np.deg2rad(item.rotation)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return _unit_outline(item.shape) @ turn * item.radius + (item.x, item.y)


def ellipse_truth(item: SceneObject) -> tuple[float, float, float, float, float] | None:
    """Return (xc, yc, r_major, r_minor, degrees) if the shape is an ellipse, or None."""
    if item.shape == "circle":
        return item.x, item.y, item.radius, item.radius, 0.0
    if item.shape == "oval":
        return item.x, item.y, item.radius * 1.15, item.radius * 0.7, item.rotation % 180.0
    return None


@lru_cache(maxsize=32)
def _unit_outline(shape: str) -> np.ndarray:
    """Return the upright, centred outline at radius 1; y points down."""
    t = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
    if shape == "circle":
        return np.stack([np.cos(t), np.sin(t)], 1)
    if shape == "oval":
        return np.stack([1.15 * np.cos(t), 0.7 * np.sin(t)], 1)
    if shape == "heart":
        x = 16.0 * np.sin(t) ** 3
        y = 13.0 * np.cos(t) - 5.0 * np.cos(2 * t) - 2.0 * np.cos(3 * t) - np.cos(4 * t)
        return np.stack([x / 15.5, -(y + 2.5) / 15.5], 1)
    corners = {"square": 4, "triangle": 3, "hexagon": 6, "star": 10}[shape]
    angles = 2.0 * np.pi * np.arange(corners) / corners - np.pi / 2.0
    if shape == "square":
        angles = angles + np.pi / 4.0
    scale = {"square": 1.2, "triangle": 1.25, "hexagon": 1.05, "star": 1.2}[shape]
    radii = np.full(corners, scale)
    if shape == "star":
        radii[1::2] *= 0.52
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)


def _silhouette(item: SceneObject, side: int) -> np.ndarray:
    mask = Image.new("1", (side, side))
    points = [(float(x), float(y)) for x, y in outline(item) * side]
    ImageDraw.Draw(mask).polygon(points, fill=1)
    return np.asarray(mask)


def _paint(canvas: np.ndarray, mask: np.ndarray, item: SceneObject, side: int) -> None:
    colour = np.array(RGB[item.colour], dtype=np.float32)
    if item.texture == "plain":
        canvas[mask] = colour.astype(np.uint8)
        return
    rows, columns = np.nonzero(mask)
    angle = np.deg2rad(item.rotation + 45.0)
    across = (columns / side - item.x) * np.cos(angle) + (rows / side - item.y) * np.sin(angle)
    light = (across / (item.radius * STRIPE_RATIO)) % 1.0 < 0.5
    canvas[rows, columns] = np.where(
        light[:, None], pale(colour).astype(np.uint8), colour.astype(np.uint8)
    )


def pale(colour: np.ndarray) -> np.ndarray:
    """Return the colour of the light stripes, (3,) from 0 to 255."""
    return 0.4 * colour + 0.6 * 255.0


@lru_cache(maxsize=16)
def background_pixels(name: str, side: int) -> np.ndarray:
    """Draw a background without objects: uint8 (side, side, 3)."""
    y, x = np.mgrid[0:side, 0:side] / side
    if name == "paper":
        values = np.broadcast_to(np.array((250.0, 246.0, 236.0)), (side, side, 3))
    elif name == "slate":
        values = np.broadcast_to(np.array((44.0, 50.0, 62.0)), (side, side, 3))
    elif name == "fog":
        values = np.array((205.0, 212.0, 222.0)) - 75.0 * y[..., None]
    else:
        dark = ((np.floor(x * 4) + np.floor(y * 4)) % 2)[..., None]
        values = np.array((238.0, 240.0, 232.0)) - dark * np.array((38.0, 30.0, 44.0))
    return values.astype(np.uint8)


def _shrink_masks(masks: np.ndarray, size: int) -> np.ndarray:
    blocks = masks.reshape(len(masks), size, SUPERSAMPLE, size, SUPERSAMPLE)
    return (
        blocks.mean((2, 4), dtype=np.float32) > 0.5
    )  # above half, so that no pixel has two objects
