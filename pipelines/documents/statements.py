"""What a description states about places and sizes, compared with the boxes of the same z."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pipelines.documents.document import Document
from pipelines.documents.part import Box
from pipelines.documents.projection import label_of
from pipelines.documents.rewording import SIZES, clauses, stated_place, stated_size
from pipelines.latents.base import Latent
from pipelines.latents.boxes import Boxes
from pipelines.latents.description import Description
from pipelines.latents.matching import best_pairs
from pipelines.latents.text import GRID

SLACK = 0.1
"""How far a centre may be outside of the third of the picture that is stated, as a fraction."""

GROWTH = 1.25
"""Ratio of areas from which a thing is larger than another of its label."""


class Statement(NamedTuple):
    """What a clause says about one element.

    Attributes:
        label: The element's label, the only one that the clause names.
        place: See `stated_place`.
        size: See `stated_size`.
        words: The clause.
    """

    label: str
    place: tuple[int | None, int | None]
    size: int | None
    words: str


def contradictions(text: str, boxes: Sequence[tuple[str, Box]]) -> list[str]:
    """List what a description says and the boxes do not show, one sentence each.

    Only clauses that name one label, in the singular, and state a place count. Each of them needs a
    box of its own whose centre is there; of two boxes of one label, the one that is said to be
    smaller must not be the larger one.

    Args:
        text: The description.
        boxes: Label and box of each element.
    """
    found = []
    labels = tuple(dict.fromkeys(label for label, _ in boxes))
    stated = statements(text, labels)
    for label in labels:
        said = [each for each in stated if each.label == label]
        here = [box for name, box in boxes if name == label]
        pairs = _pairs(said, here)
        for index, each in enumerate(said):
            if index not in pairs or _gap(each.place, here[pairs[index]]) > SLACK:
                found.append(f"It says {each.words!r}, and no box of {label!r} is there.")
        sized = [(each, here[pairs[i]]) for i, each in enumerate(said) if i in pairs]
        found += [
            f"It says {SIZES[a.size]} of the larger and {SIZES[b.size]} of the smaller {label!r}."
            for a, first in sized
            for b, second in sized
            if a.size is not None and b.size is not None
            if a.size < b.size and _area(first) > GROWTH * _area(second)
        ]
    return found


def statements(text: str, labels: Sequence[str]) -> list[Statement]:
    """Find the clauses of a text that say where an element is.

    Args:
        text: A description.
        labels: Labels of all elements.
    """
    named = {label: re.compile(rf"\b{re.escape(label)}\b", re.IGNORECASE) for label in labels}
    found = []
    for start, end in clauses(text):
        clause = text[start:end].strip(" ;:.,")
        about = [label for label, pattern in named.items() for _ in pattern.findall(clause)]
        place = stated_place(clause)
        if len(about) == 1 and place is not None:
            found.append(Statement(about[0], place, stated_size(clause), clause))
    return found


def spoken_label(text: str, label: str, box: Box, others: Sequence[tuple[str, Box]]) -> str:
    """Return the label by which a description means an element.

    It is the element's own, unless the description puts that elsewhere and something else here, of
    which no box is here: a prior mixes up labels now and then, and the picture has the colours
    that the description states for the place.

    Args:
        text: The description.
        label: The element's label.
        box: Its box.
        others: Labels and boxes of the other elements.
    """
    said = statements(text, tuple(dict.fromkeys((label, *(name for name, _ in others)))))
    own = [each for each in said if each.label == label]
    if not own or any(_gap(each.place, box) <= SLACK for each in own):
        return label
    names = {
        each.label
        for each in said
        if each.label != label and _gap(each.place, box) == 0
        if all(_gap(each.place, other) > SLACK for name, other in others if name == each.label)
    }
    return names.pop() if len(names) == 1 else label


def z_contradictions(z: Mapping[str, Latent]) -> list[str]:
    """Return the `contradictions` between the description and the boxes of a z."""
    description, boxes = z.get("description"), z.get("boxes")
    if not isinstance(description, Description) or not isinstance(boxes, Boxes):
        return []
    places = [(b.label, (b.x1 / GRID, b.y1 / GRID, b.x2 / GRID, b.y2 / GRID)) for b in boxes.items]
    return contradictions(description.text, places)


def document_contradictions(document: Document) -> list[str]:
    """Return the `contradictions` between the description and the boxes of a document."""
    boxes = [(label_of(each), each.box) for each in document.elements or () if each.box]
    return contradictions(document.description or "", boxes)


def _pairs(said: Sequence[Statement], boxes: Sequence[Box]) -> dict[int, int]:
    """Give each statement a box, those that fit best first."""
    far = np.array([[_distance(each.place, box) for box in boxes] for each in said])
    return dict(best_pairs(1.0 / (1.0 + far.reshape(len(said), len(boxes))), least=0.0))


def _gap(place: tuple[int | None, int | None], box: Box) -> float:
    """Return how far the centre of a box is outside of the stated thirds."""
    return max(0.0, _distance(place, box) - 1 / 6)


def _distance(place: tuple[int | None, int | None], box: Box) -> float:
    """Return the larger distance of a box's centre from the middle of the stated third."""
    centre = (box[1] + box[3]) / 2, (box[0] + box[2]) / 2
    stated = [(at, index) for at, index in zip(centre, place, strict=True) if index is not None]
    return max(abs(at - (index + 0.5) / 3) for at, index in stated)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
