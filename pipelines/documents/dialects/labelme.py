"""LabelMe: one JSON file per picture; shapes in pixels after EXIF orientation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.documents.dialects.base import Context, Reading, Written, drop, layout_losses
from pipelines.documents.dialects.geometry import (
    bounds,
    fraction_box,
    image_size,
    numbers,
    pixels,
    too_long,
)
from pipelines.documents.document import Document, Image, Origin
from pipelines.documents.element import Element, Ellipse, Mask
from pipelines.documents.problems import Loss, Problem, errors_of
from pipelines.documents.strict_json import dump, parse


class LabelMe:
    """See the module docstring."""

    name = "labelme"
    suffix = ".json"
    per_picture = True
    title = "LabelMe: shapes in pixels, with labels and free descriptions"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one file; points and lines have no area and are skipped with a warning."""
        value, problems = parse(data)
        if errors_of(problems):
            return Reading([], problems)
        form = value if isinstance(value, dict) else {}
        size = image_size(form.get("imageWidth"), form.get("imageHeight"))
        shapes = form.get("shapes")
        if size is None or not isinstance(shapes, list):
            why = "It is not an object with shapes, imageWidth and imageHeight."
            return Reading([], [Problem("", "type", why)])
        elements: list[Element] = []
        for index, shape in enumerate(shapes):
            element = _element(len(elements), f"shapes[{index}]", shape, size, problems)
            elements += [] if element is None else [element]
        document = Document(
            key=context.key,
            image=size,
            elements=tuple(elements),
            origin=Origin(format="labelme", file=context.name, order="xy"),
        )
        return Reading([document], problems)

    def write(self, documents: Sequence[Document]) -> Written:
        """Write one file per document, without documents that have no size."""
        files, lost = {}, {}
        for document in documents:
            lost[str(document.key)] = list(_losses(document))
            if document.image is not None:
                files[f"{document.key}{self.suffix}"] = dump(_form(document, document.image))
        return Written(files, lost)


def _element(
    number: int, path: str, shape: Any, size: Image, problems: list[Problem]
) -> Element | None:
    def skip(code: str, why: str) -> None:
        problems.append(Problem(path, code, why, "warning"))

    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
        skip("row", "It is not a shape with a label.")
        return None
    points = shape.get("points")
    flat = (
        [v for point in points for v in point]
        if isinstance(points, list) and _is_points(points)
        else []
    )
    values = numbers(flat, len(flat))
    if values is None or len(values) < 4:
        skip("points", "Its points are not a list of at least two pairs.")
        return None
    if fault := too_long(values, path):
        skip(fault.code, fault.message)
        return None
    kind, ellipse, mask = shape.get("shape_type", "polygon"), None, None
    if kind == "circle":
        radius = math.dist(values[:2], values[2:4])
        x, y = values[:2]
        values = [x - radius, y - radius, x + radius, y + radius]
        if radius > 0:
            share = radius / size.width
            ellipse = Ellipse(
                x=x / size.width, y=y / size.height, major=share, minor=share, angle=0
            )
    elif kind in ("polygon", "oriented_rectangle") and len(values) >= 6:
        scale = (size.width, size.height)
        outline = tuple(value / scale[index % 2] for index, value in enumerate(values))
        mask = Mask(polygons=(outline,))
    elif kind not in ("rectangle", "mask"):
        skip("shape", f"A shape of type {kind!r:.40} covers no area; it is skipped.")
        return None
    box, fault = fraction_box(bounds(values), size.width, size.height, path)
    if fault is not None:
        skip(fault.code, fault.message)
        return None
    label, text = shape["label"].strip(), shape.get("description")
    if not label or len(label) > 4000:
        skip("label", "Its label is empty or too long.")
        return None
    return Element(
        id=f"e{number}",
        label=label,
        description=text[:4000] if isinstance(text, str) and text.strip() else None,
        box=box,
        ellipse=ellipse,
        mask=mask,
    )


def _is_points(value: list[Any]) -> bool:
    return all(isinstance(p, list) and len(p) == 2 for p in value)


def _form(document: Document, size: Image) -> dict[str, Any]:
    scale = (size.width, size.height)
    shapes: list[dict[str, Any]] = []
    for element in document.elements or ():
        outlines = element.mask.polygons if element.mask is not None else None
        if element.box is None:
            continue
        x1, y1, x2, y2 = element.box
        flat = outlines[0] if outlines else (x1, y1, x2, y2)
        values = [pixels(value, scale[index % 2]) for index, value in enumerate(flat)]
        shapes.append(
            {
                "label": element.label or element.text or element.description,
                "points": [values[index : index + 2] for index in range(0, len(values), 2)],
                "group_id": None,
                "description": element.description or "",
                "shape_type": "polygon" if outlines else "rectangle",
                "flags": {},
            }
        )
    return {
        "version": "5.8.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": f"{document.key}.jpg",
        "imageData": None,
        "imageHeight": size.height,
        "imageWidth": size.width,
    }


def _losses(document: Document) -> Iterator[Loss]:
    held = ("box", "mask", "description")
    yield from layout_losses(document, held, counts_pixels=True)
    yield from drop(document, "description")  # only elements have one
    for index, element in enumerate(document.elements or ()):
        mask = element.mask
        if mask is not None and (mask.polygons is None or len(mask.polygons) > 1):
            yield Loss(f"elements[{index}].mask", "mask", "A shape is a single polygon.")
        if element.text and element.label:
            yield Loss(f"elements[{index}].text", "text", "A shape has a label and a description.")
