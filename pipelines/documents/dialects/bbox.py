"""``.bbox`` sidecars of SimpleTuner and GLIGEN: labels with boxes x1 y1 x2 y2 as fractions.

The file is a JSON list, JSON lines, or YOLO lines whose label is the class number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.documents.dialects.base import Context, Reading, Written, layout_losses
from pipelines.documents.dialects.geometry import fraction_box, numbers
from pipelines.documents.document import Document, Origin
from pipelines.documents.element import Element, Mask
from pipelines.documents.part import MAX_TEXT
from pipelines.documents.problems import Loss, Problem, errors_of
from pipelines.documents.strict_json import dump, parse


class BboxSidecar:
    """See the module docstring."""

    name = "bbox"
    suffix = ".bbox"
    per_picture = True
    title = "SimpleTuner .bbox and GLIGEN: labels and boxes x1 y1 x2 y2 as fractions"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one sidecar; an empty file means that the picture has no objects."""
        rows, problems = _rows(data)
        elements: list[Element] = []
        for path, row in rows:
            element = _element(f"e{len(elements)}", row, path, problems)
            if element is not None:
                elements.append(element)
        if errors_of(problems):
            return Reading([], problems)
        origin = Origin(format="bbox", file=context.name, order="xy")
        return Reading(
            [Document(key=context.key, elements=tuple(elements), origin=origin)], problems
        )

    def write(self, documents: Sequence[Document]) -> Written:
        """Write one JSON list per document, without elements that have no box."""
        files, lost = {}, {}
        for document in documents:
            rows = [_row(element) for element in document.elements or () if element.box]
            files[f"{document.key}{self.suffix}"] = dump(rows)
            lost[str(document.key)] = list(_losses(document))
        return Written(files, lost)


def _rows(data: bytes) -> tuple[list[tuple[str, Any]], list[Problem]]:
    text = data.decode("utf-8", "replace").lstrip("\ufeff").strip()
    problems: list[Problem] = []
    if text.startswith("["):
        value, problems = parse(data)
        found = value if isinstance(value, list) and not errors_of(problems) else []
        return [(f"[{index}]", row) for index, row in enumerate(found)], problems
    rows: list[tuple[str, Any]] = []
    for index, line in enumerate(text.splitlines()):
        path = f"line {index + 1}"
        if not line.strip():
            continue
        if line.lstrip().startswith("{"):
            value, faults = parse(line)
            problems += [Problem(path, fault.code, fault.message) for fault in faults]
            rows += [] if errors_of(faults) else [(path, value)]
        else:
            rows.append((path, _yolo(line)))
    return rows, problems


def _yolo(line: str) -> Any:
    """Convert a ``class cx cy w h`` line to a row of a JSON sidecar; None if it is not one."""
    parts = line.split()
    try:
        x, y, width, height = (float(part) for part in parts[1:])
    except ValueError:
        return None
    box = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
    return {"label": parts[0], "bbox": box}


def _element(name: str, row: Any, path: str, problems: list[Problem]) -> Element | None:
    if not isinstance(row, dict) or not set(row) <= {"label", "bbox", "mask", "mask_path"}:
        problems.append(Problem(path, "row", "It is not an object with label, bbox and mask."))
        return None
    label = row.get("label", "")
    if not isinstance(label, str) or not label.strip() or len(label) > 4000:
        problems.append(Problem(f"{path}.label", "label", "It has no label."))
        return None
    edges = numbers(row.get("bbox"), 4)
    if edges is None:
        problems.append(Problem(f"{path}.bbox", "box", "It is not a list of four numbers."))
        return None
    box, fault = fraction_box(edges, 1, 1, f"{path}.bbox")
    if fault is not None:
        problems.append(fault)
        return None
    mask = row.get("mask", row.get("mask_path"))
    if mask is not None and not (isinstance(mask, str) and len(mask) <= MAX_TEXT):
        problems.append(Problem(f"{path}.mask", "mask", "It is not the path of a picture."))
        return None
    return Element(
        id=name, label=label, box=box, mask=None if mask is None else Mask(file=mask, value=255)
    )


def _row(element: Element) -> dict[str, Any]:
    assert element.box is not None  # `write` skips the others
    row = {
        "label": element.label or element.description or element.text,
        "bbox": list(element.box),
    }
    if element.mask is not None and element.mask.file is not None:
        row["mask"] = element.mask.file
    return row


def _losses(document: Document) -> Iterator[Loss]:
    yield from layout_losses(document, keeps=("box", "mask"))
    for index, element in enumerate(document.elements or ()):
        if element.mask is not None and element.mask.file is None:
            yield Loss(f"elements[{index}].mask", "mask", "Only a mask in a file can be named.")
