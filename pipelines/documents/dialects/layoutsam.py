"""LayoutSAM rows as JSON lines, with lists in Python syntax inside strings and boxes in pixels."""

from __future__ import annotations

import ast
from typing import Any

from pipelines.documents.dialects.base import Context, Reading, read_lines
from pipelines.documents.dialects.geometry import fraction_box, image_size, numbers
from pipelines.documents.document import MAX_ELEMENTS, Document, Origin
from pipelines.documents.element import Element
from pipelines.documents.problems import Problem

_MAX_LIST = 1_000_000


class LayoutSam:
    """Read only."""

    name = "layoutsam"
    suffix = ".jsonl"
    title = "LayoutSAM: rows as JSON lines, boxes x1 y1 x2 y2 in pixels (read only)"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one row per line."""

        def build(row: Any, where: str, index: int, problems: list[Problem]) -> Document | None:
            return _document(row, where, context, index, problems)

        return read_lines(data, build)


def _document(
    row: Any, where: str, context: Context, index: int, problems: list[Problem]
) -> Document | None:
    size = image_size(row.get("width"), row.get("height")) if isinstance(row, dict) else None
    if size is None:
        problems.append(Problem(where, "size", "It has no width or height."))
        return None
    names = ("bbox_list", "region_captions", "detail_region_captions")
    boxes, labels, details = (_list(row.get(name)) for name in names)
    if boxes is None or labels is None or len(labels) != len(boxes):
        why = "bbox_list and region_captions are not lists of equal length."
        problems.append(Problem(where, "lists", why))
        return None
    details = details if details is not None and len(details) == len(boxes) else [None] * len(boxes)
    elements: list[Element] = []
    for number, (edges, label, detail) in enumerate(zip(boxes, labels, details, strict=True)):
        path = f"{where}.bbox_list[{number}]"
        found = numbers(edges, 4)
        if found is None or not isinstance(label, str) or not label.strip():
            problems.append(
                Problem(path, "row", "It has no caption or no four numbers.", "warning")
            )
            continue
        box, fault = fraction_box(found, size.width, size.height, path)
        if fault is not None:
            problems.append(Problem(path, fault.code, fault.message, "warning"))
        elif len(elements) < MAX_ELEMENTS:
            text = detail[:4000] if isinstance(detail, str) and detail.strip() else None
            elements.append(
                Element(id=f"e{len(elements)}", label=label[:4000], description=text, box=box)
            )
    caption, name = row.get("global_caption"), row.get("file_name")
    return Document(
        key=Context(name).key if isinstance(name, str) and name else f"{context.key}-{index}",
        image=size,
        description=caption[:4000] if isinstance(caption, str) and caption.strip() else None,
        elements=tuple(elements),
        origin=Origin(format="layoutsam", file=context.name, order="xy"),
    )


def _list(value: Any) -> list[Any] | None:
    """Return a list, or parse one from a string of Python literals."""
    if isinstance(value, str) and len(value) <= _MAX_LIST:
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return None
    return value if isinstance(value, list) else None
