"""The form in which language models write plans: a small JSON that is always a valid z document.

Places are left, top, width and height, so that no box can be reversed, and what the caption names
stands first in the list of elements, with its label given. A model that is held to the schema can
therefore write no plan that is invalid or that forgets what the caption names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.documents.document import Document, Element, Origin, Swatch
from pipelines.documents.strict_json import parse
from pipelines.plan.planners.facts import MOST_SINGLE, Named, contradictions, names

GRID = 1000
SHORTEST = 20
"""Shortest side of an element, in thousandths."""

_TEXT = r"^[^\u0000-\u0020\"\\\u007f-\u009f][^\u0000-\u001f\"\\\u007f-\u009f]{0,%d}$"
"""Printable text without escapes; the number is one less than its longest."""

FORMAT = "plan"
"""`Origin.format` of plans that a language model wrote."""


@dataclass(frozen=True)
class Form:
    """How much a plan holds; 0 leaves a part out.

    Attributes:
        plans: Most plans of one answer.
        more: Most elements beside those that the caption names.
        detail: Most characters about an element.
        background: Likewise about the background.
        description: Likewise about the whole picture.
        colours: Colours of the palette.
        label: Most characters of the label of an element that the caption does not name.
        token: Fewest characters of a token, on average, which bounds the tokens of an answer.
    """

    plans: int = 4
    more: int = 3
    detail: int = 100
    background: int = 160
    description: int = 400
    colours: int = 5
    label: int = 40
    token: float = 2.0

    def tokens(self, facts: Sequence[Named], count: int) -> int:
        """Return a bound on the tokens of an answer with `count` plans."""
        labels = [*map(len, fixed_labels(facts)), *[self.label] * self.more]
        elements = sum(labels) + (self.detail + 80) * len(labels)
        characters = self.background + self.description + 12 * self.colours + elements + 80
        return 64 + int(count * characters / self.token)

    def schema(self, facts: Sequence[Named], count: int) -> dict[str, Any]:
        """Return the JSON Schema of an answer with exactly `count` plans."""
        plan = _object(self._parts(facts))
        many = {"type": "array", "items": plan, "minItems": count, "maxItems": count}
        return _object({"plans": many})

    def _parts(self, facts: Sequence[Named]) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        if self.background:
            parts["background"] = _text(self.background)
        fixed = [self._element({"const": label}) for label in fixed_labels(facts)]
        elements: dict[str, Any] = {"type": "array", "prefixItems": fixed, "minItems": len(fixed)}
        elements["maxItems"] = len(fixed) + self.more
        elements["items"] = self._element(_text(self.label))
        parts["elements"] = elements
        if self.colours:
            colour = {"type": "string", "pattern": "^#[0-9A-F]{6}$"}
            parts["palette"] = {
                "type": "array",
                "items": colour,
                "minItems": self.colours,
                "maxItems": self.colours,
            }
        if self.description:
            parts["description"] = _text(self.description)
        return parts

    def _element(self, label: dict[str, Any]) -> dict[str, Any]:
        detail = {"detail": _text(self.detail)} if self.detail else {}
        corner = {"type": "integer", "minimum": 0, "maximum": GRID - SHORTEST}
        side = {"type": "integer", "minimum": SHORTEST, "maximum": GRID}
        place = {"left": corner, "top": corner, "width": side, "height": side}
        return _object({"label": label, **detail, **place})


@dataclass(frozen=True)
class Reading:
    """The plans of one answer.

    Attributes:
        documents: Those that can be used.
        faults: What is wrong with the others, by the names of `planners.language.FAULTS`.
        complaints: The same in words, for the model.
    """

    documents: tuple[Document, ...]
    faults: tuple[str, ...] = ()
    complaints: tuple[str, ...] = ()


def fixed_labels(facts: Sequence[Named]) -> list[str]:
    """Return the labels of the elements that a caption asks for; many of a kind are one element."""
    return [
        named.phrase
        for named in facts
        for _ in range(1 if (named.count or 1) > MOST_SINGLE else named.count or 1)
    ]


def read_plans(text: str, cut: bool, caption: str, facts: Sequence[Named]) -> Reading:
    """Read an answer.

    Elements beyond those that the caption names are left out if they would change its counts.

    Args:
        text: The answer.
        cut: Whether it was cut at the limit of tokens.
        caption: The caption.
        facts: What it fixes.
    """
    start, end = text.find("{"), text.rfind("}")
    value, problems = parse(text[start : end + 1]) if 0 <= start < end else (None, [])
    rows = value.get("plans") if isinstance(value, dict) and not problems else None
    if not isinstance(rows, list) or not rows:
        fault = "cut" if cut else "prose" if start < 0 else "JSON"
        return Reading((), (fault,), ('Write JSON of the form {"plans": [...]} and nothing else.',))
    documents, faults, complaints = [], [], []
    for number, row in enumerate(rows, start=1):
        document = _document(row, caption, facts)
        wrong = contradictions(facts, document) if isinstance(document, Document) else []
        if isinstance(document, Document) and not wrong:
            documents.append(document)
            continue
        faults.append("caption" if wrong else "form")
        complaints.append(f"Plan {number}: {'; '.join(wrong) or document}.")
    return Reading(tuple(documents), tuple(faults), tuple(complaints))


def _document(row: Any, caption: str, facts: Sequence[Named]) -> Document | str:
    """Read one plan, or say what is wrong with it."""
    if not isinstance(row, dict) or not isinstance(row.get("elements"), list):
        return "it is no object with elements"
    elements: list[Element] = []
    for place, item in enumerate(row["elements"]):
        element = _element_of(item, f"e{len(elements)}", facts)
        if isinstance(element, str):
            return f"element {place + 1} {element}"
        if not _adds_to(element, elements, facts):
            elements.append(element)
    colours = row.get("palette", [])
    try:
        return Document(
            caption=caption,
            description=row.get("description"),
            background=row.get("background"),
            elements=tuple(elements),
            palette=tuple(Swatch(hex=str(c).upper()) for c in colours) if colours else None,
            origin=Origin(format=FORMAT),
        )
    except (ValueError, TypeError) as error:
        return f"it is no z document ({str(error).splitlines()[0][:100]})"


def _element_of(item: Any, name: str, facts: Sequence[Named]) -> Element | str:
    sides = ("left", "top", "width", "height")
    given = [item.get(side) for side in sides] if isinstance(item, dict) else []
    numbers = [n for n in given if isinstance(n, int | float) and 0 <= n <= GRID]
    if len(numbers) != len(sides) or any(type(n) is bool for n in numbers):
        return "lacks numbers from 0 to 1000 for left, top, width and height"
    left, top, width, height = numbers
    right, low = min(GRID, left + width), min(GRID, top + height)
    label = item.get("label")
    many = [n.count for n in facts if n.phrase == label and (n.count or 0) > MOST_SINGLE]
    try:
        return Element(
            id=name,
            label=label,
            description=item.get("detail"),
            box=(left / GRID, top / GRID, right / GRID, low / GRID),
            count=many[0] if many else None,
        )
    except (ValueError, TypeError) as error:
        return f"is none of a z document ({str(error).splitlines()[0][:100]})"


def _adds_to(element: Element, before: Sequence[Element], facts: Sequence[Named]) -> bool:
    """Whether an element would be one more of a thing whose number the caption fixes."""
    for noun in {named.noun for named in facts}:
        counts = [named.count for named in facts if named.noun == noun]
        if names(element, noun) and None not in counts:
            there = sum(each.count or 1 for each in before if names(each, noun))
            return there + 1 > sum(count or 0 for count in counts)
    return False


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _text(most: int) -> dict[str, Any]:
    return {"type": "string", "pattern": _TEXT % (most - 1)}
