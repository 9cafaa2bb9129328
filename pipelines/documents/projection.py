"""Convert between the z document and latents: every kind is a projection of the document."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pipelines.documents.document import (
    MAX_TEXT,
    Document,
    Element,
    Ellipse,
    Image,
    Origin,
    Swatch,
    VisualTokens,
)
from pipelines.documents.problems import Loss
from pipelines.latents.base import Latent
from pipelines.latents.blobs import Blob, Blobs
from pipelines.latents.boxes import Box, Boxes
from pipelines.latents.description import MAX_CHARACTERS, Description
from pipelines.latents.ellipses import stretch_ellipse
from pipelines.latents.items import first_mention
from pipelines.latents.palette import Colour, Palette, whole_weights
from pipelines.latents.text import GRID
from pipelines.latents.tokens import Tokens

KALEIDO = "kaleido"
"""`Origin.format` of documents made from z, whose elements keep the order of z."""

ItemT = TypeVar("ItemT", Box, Blob)

_AFTER_HEAD = re.compile(
    r"[,.;:()]|\b(?:with|without|of|in|on|at|by|under|over|near|beside|behind|before|and|that|which"
    r"|who|from|to|for|is|are|has|wearing|holding|standing|sitting)\b",
    re.IGNORECASE,
)


def document_of(
    z: Mapping[str, Latent], caption: str | None = None, shape: tuple[int, ...] | None = None
) -> Document:
    """Write z as a document. Boxes and blobs of one object become one element.

    Args:
        z: Latents by kind; kinds that are not in `DOCUMENT_KINDS` are left out.
        caption: What the picture was drawn for; the document holds its first `MAX_TEXT` characters.
        shape: Height and width of the picture in pixels; None counts as a square.
    """
    parts: dict[str, object] = {}
    if isinstance(description := z.get("description"), Description):
        parts["description"] = description.text
    boxes, blobs = z.get("boxes"), z.get("blobs")
    if boxes is not None or blobs is not None:
        parts["elements"] = _elements(
            boxes.items if isinstance(boxes, Boxes) else (),
            blobs.items if isinstance(blobs, Blobs) else (),
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
            continue
        x1, y1, x2, y2 = (round(value * GRID) for value in element.box)
        x1, y1 = min(x1, GRID - 1), min(y1, GRID - 1)
        found.append(Box(label_of(element), x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)))
    kept = _ordered(document, found, lambda box: (box.x2 - box.x1) * (box.y2 - box.y1), lost)
    return Boxes(kept) if kept else None


def _blobs(document: Document, lost: list[Loss]) -> Blobs | None:
    elements = [e for e in document.elements or () if e.ellipse is not None]
    if not elements:
        return None
    image = document.image
    ratio = 1.0 if image is None else image.width / image.height
    found = [_blob(element, ratio) for element in elements]
    kept = _ordered(document, found, lambda blob: blob.r_major * blob.r_minor, lost)
    return Blobs(kept)


def _blob(element: Element, ratio: float) -> Blob:
    """Make an element's blob, in a picture whose width is `ratio` times its height."""
    ellipse = element.ellipse
    assert ellipse is not None  # `_blobs` selects elements with an ellipse
    axes = stretch_ellipse(ellipse.major, ellipse.minor, ellipse.angle, 1.0, ratio)
    major, minor = (min(GRID, max(1, round(r * GRID))) for r in axes[:2])
    x, y = (min(GRID, max(0, round(value * GRID))) for value in (ellipse.x, ellipse.y))
    return Blob(label_of(element), x, y, major, minor, round(axes[2]) % 180)


def _ordered(
    document: Document, items: list[ItemT], area: Callable[[ItemT], int], lost: list[Loss]
) -> tuple[ItemT, ...]:
    """Keep the largest items, in canonical order unless the document was made from z."""
    if len(items) > Boxes.max_items:
        lost.append(Loss("elements", "number", f"Only the {Boxes.max_items} largest are kept."))
        smallest = sorted(items, key=area)[: len(items) - Boxes.max_items]
        items = [item for item in items if not any(item is small for small in smallest)]
    if document.origin is None or document.origin.format != KALEIDO:
        items = canonical_order(items, document.caption or "")
    return tuple(items)


def canonical_order(items: Sequence[ItemT], caption: str) -> list[ItemT]:
    """Sort items like the detection stages: by first mention in the caption, then by position."""

    def key(item: ItemT) -> tuple[int, int, int]:
        mention = first_mention(item.label, caption)
        if isinstance(item, Box):
            return mention, item.x1 + item.x2, item.y1 + item.y2
        return mention, 2 * item.xc, 2 * item.yc

    return sorted(items, key=key)


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
    from_z = document.origin is not None and document.origin.format == KALEIDO
    return Palette(tuple(colours)) if from_z else Palette.sorted(colours)


def _tokens(document: Document, lost: list[Loss]) -> Tokens | None:
    found = document.tokens
    return None if found is None else Tokens(found.height, found.width, found.codebook, found.ids)


_PROJECTIONS: dict[str, Callable[[Document, list[Loss]], Latent | None]] = {
    "description": _description,
    "boxes": _boxes,
    "blobs": _blobs,
    "tokens": _tokens,
    "palette": _palette,
}

DOCUMENT_KINDS = tuple(_PROJECTIONS)
"""Kinds that documents have a place for."""


def _elements(boxes: Sequence[Box], blobs: Sequence[Blob], ratio: float) -> tuple[Element, ...]:
    """Merge boxes and blobs of the same objects, preserving the order of both lists."""
    pairs = _matched(boxes, blobs)
    elements: list[Element] = []
    done = 0
    for index, box in enumerate(boxes):
        blob_index = pairs.get(index)
        if blob_index is not None:
            elements += [
                _element(len(elements), None, blob, ratio) for blob in blobs[done:blob_index]
            ]
            done = blob_index + 1
        blob = None if blob_index is None else blobs[blob_index]
        elements.append(_element(len(elements), box, blob, ratio))
    elements += [
        _element(len(elements) + offset, None, blob, ratio)
        for offset, blob in enumerate(blobs[done:])
    ]
    return tuple(
        element.model_copy(update={"id": f"e{index}"}) for index, element in enumerate(elements)
    )


def _element(index: int, box: Box | None, blob: Blob | None, ratio: float) -> Element:
    item = box or blob
    assert item is not None
    ellipse = None
    if blob is not None:
        x, y, major, minor = (v / GRID for v in (blob.xc, blob.yc, blob.r_major, blob.r_minor))
        major, minor, angle = stretch_ellipse(major, minor, blob.theta, 1.0, 1.0 / ratio)
        ellipse = Ellipse(x=x, y=y, major=major, minor=minor, angle=angle)
    corners = None
    if box is not None:
        corners = (box.x1 / GRID, box.y1 / GRID, box.x2 / GRID, box.y2 / GRID)
    return Element(id=f"e{index}", label=item.label, box=corners, ellipse=ellipse)


def _matched(boxes: Sequence[Box], blobs: Sequence[Blob]) -> dict[int, int]:
    """Pair boxes with blobs of the same label whose centre they contain, without crossing pairs.

    Find the longest such pairing (longest common subsequence), so that the merged list projects
    back onto both lists in their original order.
    """
    rows, columns = len(boxes), len(blobs)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            best[i][j] = max(best[i + 1][j], best[i][j + 1])
            if _same(boxes[i], blobs[j]):
                best[i][j] = max(best[i][j], 1 + best[i + 1][j + 1])
    pairs: dict[int, int] = {}
    i = j = 0
    while i < rows and j < columns:
        if _same(boxes[i], blobs[j]) and best[i][j] == 1 + best[i + 1][j + 1]:
            pairs[i] = j
            i, j = i + 1, j + 1
        elif best[i + 1][j] >= best[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def _same(box: Box, blob: Blob) -> bool:
    inside = box.x1 <= blob.xc <= box.x2 and box.y1 <= blob.yc <= box.y2
    return inside and box.label == blob.label
