"""Label Studio's JSON export: tasks with results; numbers in percent of the picture.

Rectangles are rotated about their stored corner. Brush strokes and JSON-MIN exports are not
supported and are reported as such.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.documents.dialects.base import Context, Reading
from pipelines.documents.dialects.geometry import (
    bounds,
    fraction_box,
    image_size,
    numbers,
    too_long,
)
from pipelines.documents.document import MAX_ELEMENTS, Document, Image, Origin
from pipelines.documents.element import Element, Mask
from pipelines.documents.part import MAX_TEXT
from pipelines.documents.problems import Problem, errors_of
from pipelines.documents.strict_json import parse

_LABELS = ("rectanglelabels", "polygonlabels", "ellipselabels", "labels")


class LabelStudio:
    """Read only, because tasks belong to a project, which a document does not represent."""

    name = "label-studio"
    suffix = ".json"
    title = "Label Studio: JSON export of tasks, percent of the picture (read only)"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read all tasks, each with the first annotation that was not cancelled."""
        value, problems = parse(data)
        if errors_of(problems):
            return Reading([], problems)
        if not isinstance(value, list):
            return Reading([], [Problem("", "type", "It is not a list of tasks.")])
        documents = []
        for index, task in enumerate(value):
            path = f"[{index}]"
            if not isinstance(task, dict) or not isinstance(task.get("annotations"), list):
                why = "It has no annotations; JSON-MIN and other exports are not supported."
                problems.append(Problem(path, "type", why))
                continue
            documents.append(_document(task, path, context, index, problems))
        return Reading(documents, problems)


def _document(
    task: Mapping[str, Any], path: str, context: Context, index: int, problems: list[Problem]
) -> Document:
    chosen = [
        a
        for a in task["annotations"]
        if isinstance(a, dict) and not a.get("was_cancelled") and isinstance(a.get("result"), list)
    ]
    results = chosen[0]["result"] if chosen else []
    if len(chosen) > 1:
        why = f"It has {len(chosen)} annotations; the first is read."
        problems.append(Problem(path, "annotators", why, "warning"))
    notes = {
        str(r.get("id")): _note(r)
        for r in results
        if isinstance(r, dict) and r.get("type") == "textarea"
    }
    elements: list[Element] = []
    size: Image | None = None
    for number, result in enumerate(results):
        where = f"{path}.result[{number}]"
        if not isinstance(result, dict) or result.get("type") == "textarea":
            continue
        found = _size(result)
        size = size or found
        element, fault = _element(f"e{len(elements)}", where, result, found, notes)
        if fault is not None:
            problems.append(fault)
        elif element is not None and len(elements) < MAX_ELEMENTS:
            elements.append(element)
    data = task.get("data")
    image = data.get("image") if isinstance(data, dict) else None
    return Document(
        key=Context(image).key if isinstance(image, str) else f"{context.key}-{index}",
        image=size,
        elements=tuple(elements),
        origin=Origin(format="label-studio", file=context.name, order="xy"),
    )


def _element(
    name: str, path: str, result: Mapping[str, Any], size: Image | None, notes: Mapping[str, str]
) -> tuple[Element | None, Problem | None]:
    def fault(code: str, why: str) -> tuple[None, Problem]:
        return None, Problem(path, code, why, "warning")

    kind, value = result.get("type"), result.get("value")
    if kind in ("brush", "brushlabels"):
        return fault("brush", "Brush strokes are not supported; export them as masks.")
    if not isinstance(value, dict):
        return fault("row", "It has no value.")
    labels: list[Any] = next(
        (value[key] for key in _LABELS if isinstance(value.get(key), list)), []
    )
    if not labels or not isinstance(labels[0], str) or not labels[0].strip():
        return fault("label", "It has no label.")
    if len(labels[0]) > MAX_TEXT:
        return fault("label", f"Its label has more than {MAX_TEXT:,} characters.")
    outline = _outline(value, size)
    if outline is None:
        return fault("shape", f"Results of type {kind!r:.40} are not supported.")
    box, problem = fraction_box(bounds(outline), 100, 100, path)
    problem = problem or too_long(outline, path)
    if problem is not None:
        return fault(problem.code, problem.message)
    straight = len(outline) == 8 and not value.get("rotation") and "points" not in value
    mask = None if straight else Mask(polygons=(tuple(v / 100 for v in outline),))
    note = notes.get(str(result.get("id")))
    return Element(id=name, label=labels[0], description=note or None, box=box, mask=mask), None


def _outline(value: Mapping[str, Any], size: Image | None) -> list[float] | None:
    """Return the outline in percent, as x, y pairs."""
    if isinstance(points := value.get("points"), list):
        flat = [v for point in points if isinstance(point, list) for v in point]
        found = numbers(flat, len(flat))
        return found if found and len(found) >= 6 and len(found) % 2 == 0 else None
    if (
        ellipse := numbers([value.get(k) for k in ("x", "y", "radiusX", "radiusY")], 4)
    ) is not None:
        x, y, wide, high = ellipse
        turns = [2 * math.pi * step / 36 for step in range(36)]
        corners = [(wide * math.cos(t), high * math.sin(t)) for t in turns]
        return list(_turned(x, y, corners, value, size))
    if (edges := numbers([value.get(k) for k in ("x", "y", "width", "height")], 4)) is not None:
        x, y, width, height = edges
        corners = [(0.0, 0.0), (width, 0.0), (width, height), (0.0, height)]
        return list(_turned(x, y, corners, value, size))
    return None


def _turned(
    x: float,
    y: float,
    corners: list[tuple[float, float]],
    value: Mapping[str, Any],
    size: Image | None,
) -> Iterator[float]:
    """Rotate corners about (x, y) by ``rotation`` degrees, in square pixels."""
    angle = value.get("rotation")
    turn = math.radians(angle) if isinstance(angle, int | float) and math.isfinite(angle) else 0.0
    ratio = 1.0 if size is None else size.height / size.width
    for dx, dy in corners:
        tall = dy * ratio
        yield x + dx * math.cos(turn) - tall * math.sin(turn)
        yield y + (dx * math.sin(turn) + tall * math.cos(turn)) / ratio


def _size(result: Mapping[str, Any]) -> Image | None:
    return image_size(result.get("original_width"), result.get("original_height"))


def _note(result: Mapping[str, Any]) -> str:
    value = result.get("value")
    texts = value.get("text") if isinstance(value, dict) else None
    if isinstance(texts, str):
        return texts[:4000]
    return (
        " ".join(t for t in texts if isinstance(t, str))[:4000] if isinstance(texts, list) else ""
    )
