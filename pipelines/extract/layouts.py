"""Latents from annotations: what `kaleido data annotate` attached, projected on one kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from pipelines.core.masks import pixels_of_runs
from pipelines.core.record import Record
from pipelines.core.stage import Failed, Filtered, Ok, Outcome, Stage, StageSpec
from pipelines.documents.document import Document
from pipelines.documents.element import Element, Ellipse
from pipelines.documents.part import Box
from pipelines.documents.problems import InvalidDocument
from pipelines.documents.projection import z_of
from pipelines.documents.reading import read_document
from pipelines.extract.colours import colours_in_box, colours_in_mask
from pipelines.extract.ellipse import fit_ellipses
from pipelines.latents.base import LatentError
from pipelines.latents.ellipses import stretch_ellipse
from pipelines.workspace.workspace import LAYOUTS

LAYOUT_KINDS = ("description", "boxes", "blobs", "colours", "palette")
"""Kinds that a document may hold and that are not tied to a model's weights, as tokens are."""

MASKED = ("blobs", "colours")
"""Kinds that read masks; since version 2 those in run lengths, too."""

SIDE = 256
"""Pixels a side at which masks are read before an ellipse is fitted."""


class LayoutStage(Stage):
    """A document -> one kind of z; a document without that kind is filtered.

    Colours that a document lacks are measured in the picture, inside the mask or the box.

    Args:
        kind: One of `LAYOUT_KINDS`.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        version = 2 if kind in MASKED else 1
        self.spec = StageSpec(
            name=f"{kind}-layouts", version=version, output=kind, inputs=(LAYOUTS,)
        )

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """Project each record's document."""
        return [self._project(record) for record in records]

    def _project(self, record: Record) -> Outcome:
        try:
            document = read_document(record.latents[LAYOUTS], record.key)
            if self._kind == "blobs":
                document = with_ellipses(document)
            elif self._kind == "colours":
                document = with_colours(document, record.pixels)
            z, _ = z_of(document, (self._kind,))
        except (InvalidDocument, LatentError) as error:
            return Failed(error.why)
        return Ok(z[self._kind]) if self._kind in z else Filtered(f"no {self._kind} in it")


def with_ellipses(document: Document) -> Document:
    """Fit ellipses to the masks of elements that have none.

    Args:
        document: Of a picture of any shape; if it does not say, of a square one.
    """
    image = document.image
    ratio = 1.0 if image is None else image.width / image.height
    elements = document.elements or ()
    drawn = [(e, _filled(e)) for e in elements if e.ellipse is None]
    wanted = [(element, mask) for element, mask in drawn if mask.any()]
    if not wanted:
        return document
    fitted = fit_ellipses(np.stack([mask for _, mask in wanted])).tolist()
    found = {
        element.id: _unstretched(ellipse, ratio)
        for (element, _), ellipse in zip(wanted, fitted, strict=True)
    }
    return _updated(document, lambda e: {"ellipse": found[e.id]} if e.id in found else {})


def with_colours(document: Document, pixels: np.ndarray) -> Document:
    """Measure the colours of elements that have none.

    Args:
        document: The document of the picture.
        pixels: uint8 (height, width, 3).
    """

    def measured(element: Element) -> dict[str, Any]:
        if element.colours is not None:
            return {}
        mask, box = _filled(element), element.box or _around(element.ellipse, pixels.shape)
        if mask.any():
            found = colours_in_mask(pixels, mask)
        elif box is not None:
            found = colours_in_box(pixels, box)
        else:
            return {}
        return {"colours": tuple(colour.upper() for colour in found[:2])}

    return _updated(document, measured)


def _updated(document: Document, update: Callable[[Element], dict[str, Any]]) -> Document:
    elements = tuple(e.model_copy(update=update(e)) for e in document.elements or ())
    return document.model_copy(update={"elements": elements})


def _around(ellipse: Ellipse | None, shape: tuple[int, ...]) -> Box | None:
    """Return the bounding box of an ellipse in fractions of a picture of this shape."""
    if ellipse is None:
        return None
    turn, aspect = math.radians(ellipse.angle), shape[1] / shape[0]
    across = math.hypot(ellipse.major * math.cos(turn), ellipse.minor * math.sin(turn))
    down = math.hypot(ellipse.major * math.sin(turn), ellipse.minor * math.cos(turn)) * aspect
    return ellipse.x - across, ellipse.y - down, ellipse.x + across, ellipse.y + down


def _unstretched(ellipse: Sequence[float], ratio: float) -> Ellipse:
    """Return an ellipse of `_filled` in square pixels; `ratio` is width by height."""
    x, y, major, minor, angle = ellipse
    axes = stretch_ellipse(major / SIDE, minor / SIDE, angle, 1.0, 1.0 / ratio)
    return Ellipse(x=x / SIDE, y=y / SIDE, major=axes[0], minor=axes[1], angle=axes[2])


def _filled(element: Element) -> np.ndarray:
    """Fill an element's mask, if it holds one, in the picture stretched to a square.

    Returns:
        bool (SIDE, SIDE).
    """
    mask = element.mask
    if mask is not None and mask.counts is not None and mask.size is not None:
        centres = (np.arange(SIDE) + 0.5) / SIDE
        return pixels_of_runs(mask.counts, mask.size, centres, centres)
    canvas = Image.new("1", (SIDE, SIDE))
    pen = ImageDraw.Draw(canvas)
    for outline in mask.polygons or () if mask else ():
        points = [(x * SIDE, y * SIDE) for x, y in zip(outline[::2], outline[1::2], strict=True)]
        pen.polygon(points, fill=1)
    return np.asarray(canvas)
