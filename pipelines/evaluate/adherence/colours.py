"""Measure whether elements have the colours of z, from pixels and without a judge."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.documents.element import Element
from pipelines.documents.projection import document_of
from pipelines.evaluate.adherence.z_text import read_z
from pipelines.extract.colours import colours_in_box, colours_in_mask
from pipelines.extract.ellipse import draw_ellipses
from pipelines.latents.oklab import hex_to_oklab


def colour_fits(texts: Sequence[str], images: np.ndarray, others: Sequence[str]) -> np.ndarray:
    """Compare the colours of elements in pictures with those in z.

    Args:
        texts: The z of each picture.
        images: uint8 (n, height, width, 3).
        others: As many z of another caption, or none.

    Returns:
        float (n, 3): `colour_fit` for the picture's own z and, as controls, for the z of the next
        picture and of the other caption; NaN without one.
    """
    own = [_coloured(text) for text in texts]
    following = [*own[1:], *own[:1]] if len(own) > 1 else [()]
    another = [_coloured(text) for text in others] or [()] * len(own)
    rows = [
        [colour_fit(elements, image) for elements in lists]
        for image, *lists in zip(images, own, following, another, strict=True)
    ]
    return np.array(rows).reshape(len(rows), 3)


def colour_fit(elements: Sequence[Element], pixels: np.ndarray) -> float:
    """Return the mean OKLab distance from z's colours to the nearest ones in their places.

    Args:
        elements: With a place and colours, of which the first counts.
        pixels: uint8 (height, width, 3).
    """
    gaps = []
    for element in elements:
        asked = hex_to_oklab((element.colours or ())[0])
        found = np.stack([hex_to_oklab(colour) for colour in _seen(element, pixels)])
        gaps.append(np.linalg.norm(found - asked, axis=1).min())
    return float(np.mean(gaps)) if gaps else float("nan")


def _coloured(text: str) -> tuple[Element, ...]:
    """Return the elements of z with colours and a place."""
    z = read_z(text) or {}
    if "colours" not in z:
        return ()
    elements = document_of(z).elements or ()
    return tuple(e for e in elements if e.colours and (e.box or e.ellipse))


def _seen(element: Element, pixels: np.ndarray) -> list[str]:
    """Return the main colours of a picture in an element's ellipse or else its box."""
    if element.box is not None and element.ellipse is None:
        return colours_in_box(pixels, element.box)
    shape = element.ellipse
    assert shape is not None  # `_coloured` selects elements with a place
    side = max(pixels.shape)  # blobs are ellipses in the picture stretched to a square
    numbers = [value * side for value in (shape.x, shape.y, shape.major, shape.minor)]
    mask = draw_ellipses(np.array([[*numbers, shape.angle]]), (side, side))[0] >= 0.5
    if mask.any():
        return colours_in_mask(pixels, mask)
    return colours_in_box(pixels, (shape.x, shape.y, shape.x, shape.y))  # less than a pixel
