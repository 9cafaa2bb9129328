"""Grounded prose, as in the paper's appendix A: every phrase is followed by a place in brackets.

``A hill (0, 600, 1000, 1000) under a kite (560, 120, 760, 390)``: four integers are a box on the
0–1000 grid, five are an ellipse (xc, yc, r_major, r_minor, theta).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pipelines.documents.dialects.base import (
    Context,
    Reading,
    Written,
    grid_edges,
    layout_losses,
)
from pipelines.documents.dialects.geometry import fraction_box
from pipelines.documents.document import MAX_ELEMENTS, Document, Origin
from pipelines.documents.element import Element, Ellipse
from pipelines.documents.problems import Loss, Problem, errors_of

SCALE = 1000
_PLACE = re.compile(r"\(\s*(\d{1,4}(?:\s*,\s*\d{1,4}){3,4})\s*\)")
_AROUND = " ,;.:|\n"
_LEAD = re.compile(
    r"^(?:\W*\b(?:and|with|of|in|on|at|by|under|over|near|beside|behind|above|below|next|to|from|a|an"
    r"|the|some|is|are|there|stands?|sits?|lies|lie|hangs?|flies|fly)\b)*\W*",
    re.IGNORECASE,
)


class Prose:
    """See the module docstring."""

    name = "prose"
    suffix = ".txt"
    per_picture = True
    title = "Grounded prose: a phrase, then (x1, y1, x2, y2) or an ellipse from 0 to 1000"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one text, with an element for each phrase before a bracket."""
        try:
            text = data.decode("utf-8-sig").strip()
        except UnicodeDecodeError:
            return Reading([], [Problem("", "encoding", "It is not UTF-8 text.")])
        if len(text) > 100_000:
            return Reading([], [Problem("", "size", "It has more than 100,000 characters.")])
        elements: list[Element] = []
        problems: list[Problem] = []
        last = 0
        for match in _PLACE.finditer(text):
            before = text[last : match.start()].strip(_AROUND)
            # A label that is itself such a word, "a" or "in", is all that there is.
            phrase = _LEAD.sub("", before).strip(_AROUND) or before
            last = match.end()
            path = f"character {match.start()}"
            values = [int(part) for part in match.group(1).split(",")]
            element, fault = _element(f"e{len(elements)}", phrase, values, path)
            if fault is not None:
                problems.append(fault)
            elif element is not None and len(elements) < MAX_ELEMENTS:
                elements.append(element)
        if not elements and not problems:
            problems.append(Problem("", "places", "It has no place such as (120, 330, 410, 620)."))
        if errors_of(problems):
            return Reading([], problems)
        prose = re.sub(r"\s+", " ", _PLACE.sub("", text)).replace(" ,", ",").strip()
        document = Document(
            key=context.key,
            description=prose[:4000] or None,
            elements=tuple(elements),
            origin=Origin(format="prose", file=context.name, order="xy"),
        )
        return Reading([document], problems)

    def write(self, documents: Sequence[Document]) -> Written:
        """Write phrases with their places, separated by commas."""
        files, lost = {}, {}
        for document in documents:
            parts = [_phrase(element) for element in document.elements or ()]
            files[f"{document.key}{self.suffix}"] = ", ".join(filter(None, parts)) + "\n"
            lost[str(document.key)] = list(_losses(document))
        return Written(files, lost)


def _element(
    name: str, phrase: str, values: Sequence[int], path: str
) -> tuple[Element | None, Problem | None]:
    if not phrase or len(phrase) > 4000:
        return None, Problem(path, "label", "There is no phrase before the place.")
    if len(values) == 4:
        box, fault = fraction_box(values, SCALE, SCALE, path)
        return (None, fault) if fault else (Element(id=name, label=phrase, box=box), None)
    x, y, major, minor, angle = values
    if major < minor:  # as in one example of the paper
        major, minor, angle = minor, major, angle + 90
    if minor < 1 or max(x, y, major) > SCALE:
        return None, Problem(path, "ellipse", "It is not an ellipse on the 0–1000 grid.")
    ellipse = Ellipse(
        x=x / SCALE, y=y / SCALE, major=major / SCALE, minor=minor / SCALE, angle=angle % 180
    )
    return Element(id=name, label=phrase, ellipse=ellipse), None


def _phrase(element: Element) -> str:
    words = element.label or element.description or element.text or ""
    if element.box is not None:
        return f"{words} ({', '.join(map(str, grid_edges(element.box, SCALE)))})"
    if element.ellipse is not None:
        e = element.ellipse
        values = [round(v * SCALE) for v in (e.x, e.y, e.major, e.minor)] + [round(e.angle) % 180]
        return f"{words} ({', '.join(map(str, values))})"
    return ""


def _losses(document: Document) -> Iterator[Loss]:
    yield from layout_losses(
        document,
        keeps=("box", "ellipse"),
        is_placed=lambda element: element.box is not None or element.ellipse is not None,
    )
    for index, element in enumerate(document.elements or ()):
        if element.box is not None and element.ellipse is not None:
            yield Loss(f"elements[{index}].ellipse", "ellipse", "A phrase has one place: its box.")
