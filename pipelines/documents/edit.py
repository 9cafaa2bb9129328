"""Edit a document: move, resize, add, remove and recolour elements."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from pipelines.core.errors import KaleidoError
from pipelines.documents.dialects.geometry import TOLERANCE
from pipelines.documents.document import Document
from pipelines.documents.element import Element, Ellipse
from pipelines.documents.palette import Swatch
from pipelines.documents.part import MAX_TEXT, Box
from pipelines.documents.rewording import colour_distance, moved, recoloured, resized
from pipelines.documents.statements import spoken_label
from pipelines.latents.text import GRID

FARTHEST = 1_000_000
"""Grid units that a move may ask for; the picture's edge stops it long before."""

_ADDED = re.compile(r"\s*(?P<label>[^()]+?)\s*\((?P<numbers>[^()]*)\)\s*")
_EDGE = re.compile(r"[0-9]{1,9}")
_HEX = re.compile(r"#[0-9A-Fa-f]{6}")


def move(document: Document, name: str, dx: int, dy: int) -> Document:
    """Move an element by grid units, at most to the picture's edge, and restate its place.

    Args:
        document: The document.
        name: Label or id of the element.
        dx: Distance to the right in thousandths of the width.
        dy: Distance downwards in thousandths of the height.

    Raises:
        KaleidoError: If a distance is over `FARTHEST`.
    """
    if max(abs(dx), abs(dy)) > FARTHEST:
        raise _bad("--move", f"a distance is over {FARTHEST:,} thousandths of the picture.")

    def shifted(element: Element) -> Element:
        across, down = dx / GRID, dy / GRID
        if element.box is not None:
            x1, y1, x2, y2 = element.box
            across = min(max(across, -x1), 1 - x2)
            down = min(max(down, -y1), 1 - y2)
        return _placed(element, lambda x, y: (x + across, y + down), 1.0)

    before = find(document, name)
    changed = _change(document, name, shifted)
    places = _centre(before), _centre(find(changed, before.id))
    return _restated(changed, before, lambda text, label: moved(text, label, *places))


def resize(document: Document, name: str, factor: float) -> Document:
    """Scale an element about its centre, clip it to the picture, and restate its size.

    Raises:
        KaleidoError: If the factor is not above 0.
    """
    if not 0 < factor < 1000:
        raise _bad("--resize", f"the factor {factor:g} is not above 0.")

    def scaled(element: Element) -> Element:
        x, y = _centre(element)
        return _placed(element, lambda u, v: (x + factor * (u - x), y + factor * (v - y)), factor)

    before = find(document, name)
    changed = _change(document, name, scaled)
    return _restated(
        changed, before, lambda text, label: resized(text, label, _centre(before), factor)
    )


def rotate(document: Document, name: str, degrees: float) -> Document:
    """Rotate an element's ellipse clockwise.

    Raises:
        KaleidoError: If the element has no ellipse, or the angle is not a finite number.
    """
    if not math.isfinite(degrees):
        raise _bad("--rotate", f"{degrees} is not an angle.")

    def rotated(element: Element) -> Element:
        if element.ellipse is None:
            raise _bad("--rotate", f"{name} has no ellipse, and only ellipses can be rotated.")
        angle = (element.ellipse.angle + degrees) % 180
        ellipse = element.ellipse.model_copy(update={"angle": angle})
        return element.model_copy(update={"ellipse": ellipse})

    return _change(document, name, rotated)


def remove(document: Document, name: str) -> Document:
    """Remove an element and the relations that refer to it."""
    found = find(document, name)
    kept = tuple(element for element in document.elements or () if element is not found)
    relations = tuple(
        relation
        for relation in document.relations or ()
        if found.id not in (relation.subject, relation.object)
    )
    return document.model_copy(update={"elements": kept, "relations": relations or None})


def add(document: Document, text: str) -> Document:
    """Add an element, written as ``circle (100, 100, 400, 400)``, in front of the others.

    If other elements have ellipses, it gets the ellipse inscribed in its box, so that it is part of
    every kind of z that the document describes.

    Raises:
        KaleidoError: If the text has another form.
    """
    match = _ADDED.fullmatch(text)
    numbers = [part.strip() for part in match["numbers"].split(",")] if match else []
    if match is None or len(numbers) != 4 or not all(map(_EDGE.fullmatch, numbers)):
        raise _bad("--add", f"{text!r} is not like 'circle (100, 100, 400, 400)'.")
    edges = [int(number) for number in numbers]
    if not (0 <= edges[0] < edges[2] <= GRID and 0 <= edges[1] < edges[3] <= GRID):
        raise _bad("--add", f"a box needs x1 < x2 and y1 < y2, from 0 to {GRID}.")
    if len(match["label"]) > MAX_TEXT:
        raise _bad("--add", f"the label is longer than {MAX_TEXT:,} characters.")
    box: Box = (edges[0] / GRID, edges[1] / GRID, edges[2] / GRID, edges[3] / GRID)
    elements = document.elements or ()
    ids = {element.id for element in elements}
    number = next(n for n in range(len(ids) + 1) if f"e{n}" not in ids)
    with_ellipse = any(element.ellipse is not None for element in elements)
    image = document.image
    ratio = 1.0 if image is None else image.width / image.height
    added = Element(
        id=f"e{number}",
        label=match["label"],
        box=box,
        ellipse=_inside(box, ratio) if with_ellipse else None,
    )
    return document.model_copy(update={"elements": (*elements, added)})


def recolour(document: Document, name: str, colour: str, present: str | None = None) -> Document:
    """Change the colour of an element, and adapt the palette and the description.

    In the palette, the colour nearest to the element's present colour changes; in the description,
    the word for that colour in the clause about the element.

    Args:
        document: The document.
        name: Label or id of the element.
        colour: The new colour as ``#rrggbb``.
        present: The present colour, for example measured in the picture; by default the element's
            first colour.

    Raises:
        KaleidoError: If the colour has another form.
    """
    if not _HEX.fullmatch(colour):
        raise _bad("--recolour", f"{colour!r} is not a colour like #2050d0.")
    element = find(document, name)
    before = present or (element.colours[0] if element.colours else None)
    changed = _change(document, name, lambda e: e.model_copy(update={"colours": (colour.upper(),)}))
    if before is None:
        return changed
    centre = None if element.box is None and element.ellipse is None else _centre(element)
    changed = _restated(
        changed, element, lambda text, label: recoloured(text, label, centre, before, colour)
    )
    if not document.palette:
        return changed
    index = _nearest(document.palette, before)
    swatch = document.palette[index].model_copy(update={"hex": colour.upper(), "grid": None})
    palette = (*document.palette[:index], swatch, *document.palette[index + 1 :])
    return changed.model_copy(update={"palette": palette})


def describe(document: Document, text: str) -> Document:
    """Replace the description."""
    return document.model_copy(update={"description": text})


def find(document: Document, name: str) -> Element:
    """Return the element with an id or a label.

    Raises:
        KaleidoError: If there is none, or several have the label.
    """
    elements = document.elements or ()
    found = [e for e in elements if e.id == name] or [e for e in elements if e.label == name]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{e.id} ({e.label or e.description or e.text})" for e in elements)
    if not found:
        raise _bad(name, "the document has no such element.", f"It has {listed or 'none'}.")
    ids = ", ".join(element.id for element in found)
    raise _bad(name, f"{len(found)} elements have this label.", f"Use one of the ids: {ids}.")


def _change(document: Document, name: str, change: Callable[[Element], Element]) -> Document:
    found = find(document, name)
    elements = tuple(
        change(element) if element is found else element for element in document.elements or ()
    )
    return document.model_copy(update={"elements": elements})


def _restated(document: Document, element: Element, change: Callable[[str, str], str]) -> Document:
    """Change what the description says about an element as it was.

    `change` gets the text and the label by which the text means it.
    """
    if not document.description or not element.label:
        return document
    label, box = element.label, element.box
    if box is not None:
        others = [
            (other.label, other.box)
            for other in document.elements or ()
            if other.id != element.id and other.label and other.box
        ]
        label = spoken_label(document.description, label, box, others)
    text = change(document.description, label)
    return document.model_copy(update={"description": text})


def _placed(
    element: Element, place: Callable[[float, float], tuple[float, float]], scale: float
) -> Element:
    """Move an element's box and ellipse, and drop its mask."""
    update: dict[str, object] = {"mask": None}
    if element.box is not None:
        update["box"] = _clipped((*place(*element.box[:2]), *place(*element.box[2:])))
    if (ellipse := element.ellipse) is not None:
        x, y = place(ellipse.x, ellipse.y)
        radii = {"major": ellipse.major * scale, "minor": ellipse.minor * scale}
        centre = {"x": min(1.0, max(0.0, x)), "y": min(1.0, max(0.0, y))}
        update["ellipse"] = ellipse.model_copy(update=centre | radii)
    return element.model_copy(update=update)


def _clipped(box: Box) -> Box:
    x1, y1, x2, y2 = (min(1.0, max(0.0, value)) for value in box)
    if x2 - x1 < TOLERANCE / 10 or y2 - y1 < TOLERANCE / 10:
        raise _bad("the change", "the element would be outside of the picture.")
    return x1, y1, x2, y2


def _centre(element: Element) -> tuple[float, float]:
    if element.box is not None:
        return (element.box[0] + element.box[2]) / 2, (element.box[1] + element.box[3]) / 2
    if element.ellipse is not None:
        return element.ellipse.x, element.ellipse.y
    raise _bad(element.id, "it has no box or ellipse to change.")


def _inside(box: Box, ratio: float) -> Ellipse:
    """Return the ellipse inscribed in a box of a picture `ratio` times as wide as it is high."""
    half = ((box[2] - box[0]) / 2, (box[3] - box[1]) / 2 / ratio)
    return Ellipse(
        x=(box[0] + box[2]) / 2,
        y=(box[1] + box[3]) / 2,
        major=max(half),
        minor=min(half),
        angle=0 if half[0] >= half[1] else 90,
    )


def _nearest(palette: Sequence[Swatch], colour: str) -> int:
    """Return the index of the palette colour that is nearest in OKLab."""
    return min(range(len(palette)), key=lambda i: colour_distance(palette[i].hex, colour))


def _bad(what: str, why: str, hint: str = "") -> KaleidoError:
    return KaleidoError(what, why, hint, code="bad-option")
