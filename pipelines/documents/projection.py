"""Convert between the z document and latents: every kind is a projection of the document."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from pipelines.documents.document import Document, Image, Origin
from pipelines.documents.element import Element, Ellipse
from pipelines.documents.merge import merge_items
from pipelines.documents.palette import Swatch
from pipelines.documents.part import MAX_TEXT
from pipelines.documents.problems import Loss
from pipelines.documents.tokens import VisualTokens
from pipelines.latents.base import Latent
from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.colours import Colours, ElementColours
from pipelines.latents.description import MAX_CHARACTERS, Description
from pipelines.latents.ellipses import stretch_ellipse
from pipelines.latents.items import first_mention
from pipelines.latents.palette import Colour, Palette, whole_weights
from pipelines.latents.text import GRID
from pipelines.latents.tokens import Tokens

KALEIDO = "kaleido"
"""`Origin.format` of documents made from z, whose elements keep the order of z."""

ItemT = TypeVar("ItemT")

_AFTER_HEAD = re.compile(
    r"[,.;:()]|\b(?:with|without|of|in|on|at|by|under|over|near|beside|behind|before|and|that|which"
    r"|who|from|to|for|is|are|has|wearing|holding|standing|sitting)\b",
    re.IGNORECASE,
)


def document_of(
    z: Mapping[str, Latent], caption: str | None = None, shape: tuple[int, ...] | None = None
) -> Document:
    """Write z as a document. Boxes, blobs and colours of one object become one element.

    Args:
        z: Latents by kind; kinds that are not in `DOCUMENT_KINDS` are left out.
        caption: What the picture was drawn for; the document holds its first `MAX_TEXT` characters.
        shape: Height and width of the picture in pixels; None counts as a square.
    """
    parts: dict[str, object] = {}
    if isinstance(description := z.get("description"), Description):
        parts["description"] = description.text
    boxes, blobs, colours = z.get("boxes"), z.get("blobs"), z.get("colours")
    if boxes is not None or blobs is not None or colours is not None:
        parts["elements"] = merge_items(
            boxes.items if isinstance(boxes, Boxes) else (),
            blobs.items if isinstance(blobs, Blobs) else (),
            colours.items if isinstance(colours, Colours) else (),
            1.0 if shape is None else shape[1] / shape[0],
        )
    if isinstance(palette := z.get("palette"), Palette):
        parts["palette"] = tuple(
            Swatch(hex=c.hex.upper(), weight=c.weight, grid=(c.lightness, c.a, c.b))
            for c in palette.items
        )
    if isinstance(tokens := z.get("tokens"), Tokens):
        parts["tokens"] = VisualTokens(
            tokenizer="",
            height=tokens.height,
            width=tokens.width,
            codebook=tokens.codebook,
            ids=tokens.ids,
        )
    return Document(
        image=None if shape is None else Image(height=shape[0], width=shape[1]),
        caption=None if caption is None else caption[:MAX_TEXT],
        origin=Origin(format=KALEIDO, version="1"),
        **parts,  # type: ignore[arg-type]
    )


def z_of(document: Document, kinds: Sequence[str]) -> tuple[dict[str, Latent], list[Loss]]:
    """Project a document onto kinds of latents.

    Args:
        document: The document.
        kinds: Kinds to make, in order; kinds for which the document has no data are skipped.

    Returns:
        Latents by kind, and everything that the kinds cannot represent.
    """
    lost: list[Loss] = []
    z: dict[str, Latent] = {}
    for kind in kinds:
        latent = _PROJECTIONS[kind](document, lost) if kind in _PROJECTIONS else None
        if latent is not None:
            z[kind] = latent
    return z, lost


def label_of(element: Element) -> str:
    """Return an element's label, or else the head noun of its description.

    The head of an English noun phrase is the last word before the first preposition, clause or
    comma: "Red diamond-shaped paper kite with a long tail." has the head "kite".
    """
    if element.label:
        return element.label
    if not element.description:
        return "text"
    words = _AFTER_HEAD.split(element.description.strip())[0].split()
    return (words or element.description.split())[-1].lower()


def _description(document: Document, lost: list[Loss]) -> Description | None:
    if not document.description:
        return None
    text = document.description
    if len(text) > MAX_CHARACTERS:
        lost.append(Loss("description", "length", f"Only {MAX_CHARACTERS} characters are kept."))
        text = text[:MAX_CHARACTERS].rsplit(" ", 1)[0]
    text = "".join(char if char.isprintable() else " " for char in text)
    return Description(text) if text.strip() else None


def _boxes(document: Document, lost: list[Loss]) -> Boxes | None:
    found: list[Box] = []
    for index, element in enumerate(document.elements or ()):
        if element.box is None:
            lost.append(
                Loss(f"elements[{index}]", "place", "An element without a box has no place.")
            )
        else:
            found.append(_box(element, element.box))
    kept = _ordered(document, found, lambda box: box, lost)
    return Boxes(kept) if kept else None


def _box(element: Element, edges: tuple[float, float, float, float]) -> Box:
    x1, y1, x2, y2 = (round(value * GRID) for value in edges)
    x1, y1 = min(x1, GRID - 1), min(y1, GRID - 1)
    return Box(label_of(element), x1, y1, max(x2, x1 + 1), max(y2, y1 + 1))


def _blobs(document: Document, lost: list[Loss]) -> Blobs | None:
    elements = [(e, e.ellipse) for e in document.elements or () if e.ellipse is not None]
    if not elements:
        return None
    ratio = _ratio(document)
    found = [_blob(element, ellipse, ratio) for element, ellipse in elements]
    return Blobs(_ordered(document, found, lambda blob: blob, lost))


def _blob(element: Element, ellipse: Ellipse, ratio: float) -> Blob:
    """Make an element's blob, in a picture whose width is `ratio` times its height."""
    axes = stretch_ellipse(ellipse.major, ellipse.minor, ellipse.angle, 1.0, ratio)
    major, minor = (min(GRID, max(1, round(r * GRID))) for r in axes[:2])
    x, y = (min(GRID, max(0, round(value * GRID))) for value in (ellipse.x, ellipse.y))
    return Blob(label_of(element), x, y, major, minor, round(axes[2]) % 180)


def _colours(document: Document, lost: list[Loss]) -> Colours | None:
    """Project colours in the order of the boxes; a document made from z may have some elsewhere."""
    elements = document.elements or ()
    if is_from_z(document):
        placed = [element for element in elements if element.colours]
    else:  # those without colours count too, so that the same elements are kept as in boxes
        placed = [element for element in elements if element.box or element.ellipse]
    if not any(element.colours for element in placed):
        return None
    place = partial(_place, ratio=_ratio(document))
    kept = [e for e in _ordered(document, placed, place, lost) if e.colours]
    if any(len(element.colours or ()) > 2 for element in kept):
        lost.append(Loss("elements", "colours", "Only the first two of an element are kept."))
    items = [ElementColours.from_hex(label_of(e), *(e.colours or ())[:2]) for e in kept]
    return Colours(tuple(items)) if items else None


def _place(element: Element, ratio: float) -> Box | Blob | None:
    if element.box is not None:
        return _box(element, element.box)
    return None if element.ellipse is None else _blob(element, element.ellipse, ratio)


def _ratio(document: Document) -> float:
    """Return the width of a document's picture over its height, 1 if they are not known."""
    return 1.0 if document.image is None else document.image.width / document.image.height


def is_from_z(document: Document) -> bool:
    """Return whether a document was made from z, so that its elements are in the order of z."""
    return document.origin is not None and document.origin.format == KALEIDO


def _ordered(
    document: Document,
    items: Sequence[ItemT],
    place: Callable[[ItemT], Box | Blob | None],
    lost: list[Loss],
) -> tuple[ItemT, ...]:
    """Keep the largest items, in canonical order unless the document was made from z."""
    pairs = [(item, place(item)) for item in items]
    if len(pairs) > Boxes.max_items:
        lost.append(Loss("elements", "number", f"Only the {Boxes.max_items} largest are kept."))
        smallest = sorted(pairs, key=lambda pair: _area(pair[1]))[: len(pairs) - Boxes.max_items]
        pairs = [pair for pair in pairs if not any(pair is small for small in smallest)]
    if not is_from_z(document):
        pairs = sorted(pairs, key=lambda pair: _rank(pair[1], document.caption or ""))
    return tuple(item for item, _ in pairs)


def _area(place: Box | Blob | None) -> int:
    if isinstance(place, Blob):
        return place.r_major * place.r_minor
    return 0 if place is None else (place.x2 - place.x1) * (place.y2 - place.y1)


def _rank(place: Box | Blob | None, caption: str) -> tuple[int, int, int]:
    """Rank like the detection stages: by first mention in the caption, then by position."""
    if place is None:
        return len(caption), 0, 0
    mention = first_mention(place.label, caption)
    if isinstance(place, Box):
        return mention, place.x1 + place.x2, place.y1 + place.y2
    return mention, 2 * place.xc, 2 * place.yc


def _palette(document: Document, lost: list[Loss]) -> Palette | None:
    swatches = document.palette or ()
    if not swatches:
        return None
    if len(swatches) > Palette.max_items:
        lost.append(Loss("palette", "number", f"Only {Palette.max_items} colours are kept."))
        swatches = swatches[: Palette.max_items]
    if swatches[0].weight is None:
        lost.append(Loss("palette", "weights", "Colours without weights get equal shares."))
    weights = whole_weights([swatch.weight or 1 for swatch in swatches])
    colours = [
        Colour(*swatch.grid, weight) if swatch.grid else Colour.from_hex(swatch.hex, weight)
        for swatch, weight in zip(swatches, weights, strict=True)
    ]
    return Palette(tuple(colours)) if is_from_z(document) else Palette.sorted(colours)


def _tokens(document: Document, lost: list[Loss]) -> Tokens | None:
    found = document.tokens
    return None if found is None else Tokens(found.height, found.width, found.codebook, found.ids)


_PROJECTIONS: dict[str, Callable[[Document, list[Loss]], Latent | None]] = {
    "description": _description,
    "boxes": _boxes,
    "blobs": _blobs,
    "colours": _colours,
    "tokens": _tokens,
    "palette": _palette,
}

DOCUMENT_KINDS = tuple(_PROJECTIONS)
"""Kinds that documents have a place for."""
