"""z of real pictures: what the adherence of a model that drew as it should would be measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL.Image import Image

from pipelines.core.masks import around
from pipelines.evaluate.adherence.tokens import Retokenizer
from pipelines.extract.blobs import to_blob
from pipelines.extract.boxes import to_boxes
from pipelines.extract.detection import in_order
from pipelines.extract.detectors.base import Detections
from pipelines.extract.ellipse import fit_ellipses
from pipelines.extract.palette import find_palette
from pipelines.latents.base import Latent
from pipelines.latents.blobs import Blobs
from pipelines.latents.description import Description
from pipelines.latents.sequence import z_to_text
from pipelines.scenes.descriptions import describe_scene
from pipelines.scenes.draw import Drawing, draw_scene
from pipelines.scenes.factors import Scene

SIDE = 64
"""Pixels a side that scenes are drawn at for their z: as `kaleido data scenes` draws them."""


@dataclass(frozen=True)
class TrueZ:
    """Writes z of real pictures, as extractors that make no mistake would.

    Nothing here looks at a drawn picture: the judge does, and its agreement with the z of real
    pictures is the ceiling of what it can say of a model's.

    Attributes:
        kinds: Of z that the models draw, in order.
        colours: Of a palette, at most.
        tokenizer: Of the workspace, if it has one.
    """

    kinds: Sequence[str] = ()
    colours: int = 6
    tokenizer: Retokenizer | None = None

    @property
    def facts(self) -> list[object]:
        """What decides z, as JSON values."""
        return [list(self.kinds), self.colours, self.tokenizer and self.tokenizer.name]

    def of_scene(self, scene: Scene, caption: str) -> str:
        """Write the z of a scene that was drawn for a caption."""
        if not self.kinds:
            return ""
        drawing = draw_scene(scene, SIDE)
        found = in_order(_found(scene, drawing), caption)
        makers: dict[str, Callable[[], Latent]] = {
            "description": lambda: Description(describe_scene(scene)),
            "boxes": lambda: to_boxes(found, drawing.pixels.shape),
            "blobs": lambda: _blobs(found),
        }
        z = {kind: makers[kind]() for kind in self.kinds if kind in makers}
        return z_to_text(self._in_order(z | self._of_pixels(drawing.pixels)))

    def of_pixels(self, image: Image) -> str:
        """Write the kinds that follow from a picture's pixels: tokens and palette."""
        return z_to_text(self._in_order(self._of_pixels(np.asarray(image))))

    def _of_pixels(self, pixels: np.ndarray) -> dict[str, Latent]:
        z: dict[str, Latent] = {}
        if "palette" in self.kinds:
            z["palette"] = find_palette(pixels, self.colours)
        if "tokens" in self.kinds and self.tokenizer is not None:
            z["tokens"] = self.tokenizer.tokens(pixels)
        return z

    def _in_order(self, z: dict[str, Latent]) -> dict[str, Latent]:
        return {kind: z[kind] for kind in self.kinds if kind in z}


WITHOUT = TrueZ()
"""Writes none."""


def _found(scene: Scene, drawing: Drawing) -> Detections:
    """The visible objects of a scene, as a perfect detector finds them."""
    seen = [index for index, mask in enumerate(drawing.masks) if mask.any()]
    masks = drawing.masks[seen]
    return Detections(
        np.array([around(mask) for mask in masks], np.float32),
        np.ones(len(seen), np.float32),
        tuple(scene.objects[index].shape for index in seen),
        masks.astype(np.float32),
    )


def _blobs(found: Detections) -> Blobs:
    assert found.masks is not None
    ellipses = fit_ellipses(found.masks)
    pairs = zip(found.labels, ellipses, strict=True)
    return Blobs(tuple(to_blob(label, ellipse, SIDE) for label, ellipse in pairs))
