"""Write the ground-truth z of a scene, whose description and objects are known, not detected."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from pipelines.core.masks import around
from pipelines.evaluate.adherence.truth import TrueZ
from pipelines.extract.blobs import to_blob
from pipelines.extract.boxes import to_boxes
from pipelines.extract.colours import to_colours
from pipelines.extract.detection import in_order
from pipelines.extract.detectors.base import Detections
from pipelines.extract.ellipse import fit_ellipses
from pipelines.latents.base import Latent
from pipelines.latents.blobs import Blobs
from pipelines.latents.description import Description
from pipelines.scenes.descriptions import describe_scene
from pipelines.scenes.draw import draw_scene
from pipelines.scenes.factors import Scene

SIDE = 64
"""Side in pixels at which scenes are drawn for their z, as in `kaleido data scenes`."""


def z_of_scene(truth: TrueZ, scene: Scene, caption: str) -> str:
    """Write the z of a scene drawn for a caption; empty if the models use no z."""
    if not truth.kinds:
        return ""
    drawing = draw_scene(scene, SIDE)
    found = in_order(detections_of(scene, drawing.masks), caption)
    makers: dict[str, Callable[[], Latent]] = {
        "description": lambda: Description(describe_scene(scene)),
        "boxes": lambda: to_boxes(found, drawing.pixels.shape),
        "blobs": lambda: blobs_of(found, SIDE),
        "colours": lambda: to_colours(found, drawing.pixels),
    }
    known = {kind: makers[kind]() for kind in truth.kinds if kind in makers}
    return truth.of_pixels(Image.fromarray(drawing.pixels), known)


def detections_of(scene: Scene, masks: np.ndarray) -> Detections:
    """Return the visible objects of a scene, as a perfect detector would.

    Args:
        scene: The scene.
        masks: bool (n, size, size), the visible pixels of each object.
    """
    seen = [index for index, mask in enumerate(masks) if mask.any()]
    masks = masks[seen]
    return Detections(
        np.array([around(mask) for mask in masks], np.float32),
        np.ones(len(seen), np.float32),
        tuple(scene.objects[index].shape for index in seen),
        masks.astype(np.float32),
    )


def blobs_of(found: Detections, side: int) -> Blobs:
    """Fit an ellipse to the mask of each object, in a picture of `side` by `side` pixels."""
    assert found.masks is not None
    ellipses = fit_ellipses(found.masks)
    pairs = zip(found.labels, ellipses, strict=True)
    return Blobs(tuple(to_blob(label, ellipse, side, side) for label, ellipse in pairs))
