"""COCO: one JSON file of images, categories and annotations; boxes x y w h in pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.documents.dialects.base import Context, Reading, Written, drop_foreign, layout_losses
from pipelines.documents.dialects.geometry import (
    area,
    fraction_box,
    image_size,
    numbers,
    pixels,
    too_long,
)
from pipelines.documents.document import MAX_ELEMENTS, Document, Image, Origin
from pipelines.documents.element import MAX_RUNS, Element, Mask
from pipelines.documents.problems import Loss, Problem, errors_of
from pipelines.documents.strict_json import dump, parse

MAX_BYTES = 2**30
"""The instances of COCO's training set are a single file of 450 MB."""


class Coco:
    """See the module docstring."""

    name = "coco"
    suffix = ".json"
    per_picture = False
    title = "COCO: one file for all pictures, boxes x y w h in pixels, polygons or RLE"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one file. Report and skip invalid annotations and crowds."""
        value, problems = parse(data, MAX_BYTES)
        if errors_of(problems):
            return Reading([], problems)
        if not isinstance(value, dict) or not isinstance(value.get("images"), list):
            return Reading([], [Problem("", "type", "It is not an object with a list of images.")])
        names = _categories(value.get("categories", []), problems)
        by_image = defaultdict(list)
        for index, row in enumerate(_list(value, "annotations", problems)):
            if isinstance(row, dict) and isinstance(row.get("image_id"), int | str):
                by_image[row["image_id"]].append((f"annotations[{index}]", row))
            else:
                path = f"annotations[{index}]"
                problems.append(Problem(path, "row", "It has no image_id.", "warning"))
        documents = []
        for index, image in enumerate(value["images"]):
            found = _document(f"images[{index}]", image, by_image, names, context, problems)
            documents += [] if found is None else [found]
        return Reading(documents, problems)

    def write(self, documents: Sequence[Document]) -> Written:
        """Write all documents into one file, without documents that have no size."""
        lost: dict[str, list[Loss]] = {}
        form: dict[str, list[Any]] = {"images": [], "categories": [], "annotations": []}
        categories = _known_categories(documents)
        for number, document in enumerate(documents, start=1):
            lost[str(document.key)] = list(_losses(document))
            if document.image is None:
                continue
            extra = (document.extra or {}).get("coco", {})
            image_id = extra.get("id", number)
            form["images"].append(
                {
                    "id": image_id,
                    "file_name": extra.get("file_name", f"{document.key}.jpg"),
                    "width": document.image.width,
                    "height": document.image.height,
                }
            )
            for element in document.elements or ():
                if element.box is not None:
                    form["annotations"].append(
                        _annotation(element, document.image, image_id, categories, form)
                    )
        form["categories"] = [
            {"id": n, "name": name}
            for name, n in sorted(categories.items(), key=lambda item: item[1])
        ]
        return Written({f"annotations{self.suffix}": dump(form)}, lost)


def _list(value: Mapping[str, Any], key: str, problems: list[Problem]) -> list[Any]:
    found = value.get(key, [])
    if isinstance(found, list):
        return found
    problems.append(Problem(key, "type", "It is not a list."))
    return []


def _categories(rows: Any, problems: list[Problem]) -> dict[int, str]:
    names: dict[int, str] = {}
    for index, row in enumerate(rows if isinstance(rows, list) else []):
        match row:
            case {"id": int(number), "name": str(name)} if name.strip() and len(name) <= 4000:
                names[number] = name
            case _:
                path = f"categories[{index}]"
                problems.append(Problem(path, "category", "It has no id or name.", "warning"))
    return names


def _document(
    path: str,
    image: Any,
    by_image: Mapping[Any, Sequence[tuple[str, Any]]],
    names: Mapping[int, str],
    context: Context,
    problems: list[Problem],
) -> Document | None:
    size = name = image_id = None
    if isinstance(image, dict):
        size = image_size(image.get("width"), image.get("height"))
        name, image_id = image.get("file_name"), image.get("id")
    if size is None or not isinstance(name, str) or not isinstance(image_id, int | str):
        why = "It needs id, file_name, width and height."
        problems.append(Problem(path, "image", why, "warning"))
        return None
    elements: list[Element] = []
    for where, row in by_image.get(image_id, ()):
        element, fault = _element(f"e{len(elements)}", where, row, size, names)
        if fault is not None:
            problems.append(fault)
        elif element is not None and len(elements) < MAX_ELEMENTS:
            elements.append(element)
        elif element is not None:
            problems.append(Problem(where, "number", f"Beyond {MAX_ELEMENTS} elements.", "warning"))
    return Document(
        key=Context(name).key,
        image=size,
        elements=tuple(elements),
        origin=Origin(format="coco", file=context.name, order="xy"),
        extra={"coco": {"id": image_id, "file_name": name}},
    )


def _element(
    name: str, path: str, row: Mapping[str, Any], size: Image, names: Mapping[int, str]
) -> tuple[Element | None, Problem | None]:
    def fault(code: str, why: str) -> tuple[None, Problem]:
        return None, Problem(path, code, why, "warning")

    if row.get("iscrowd") == 1:
        return fault("crowd", "A crowd is not a single object; it is skipped.")
    category = row.get("category_id")
    if not isinstance(category, int) or category not in names:
        return fault("category", f"Its category {category!r} is not listed.")
    edges = numbers(row.get("bbox"), 4)
    if edges is None:
        return fault("box", "Its bbox is not a list of four numbers x, y, w, h.")
    x, y, width, height = edges
    box, problem = fraction_box((x, y, x + width, y + height), size.width, size.height, path)
    if problem is not None:
        return fault(problem.code, problem.message)
    mask, why = _mask(row.get("segmentation"), size)
    if why:
        return fault("mask", why)
    score = row.get("score")
    extra = {"id": row.get("id"), "category_id": category}
    kept = {key: value for key, value in extra.items() if value is not None}
    derived = round(_area(box, mask, size), 2)
    if isinstance(row.get("area"), int | float) and abs(row["area"] - derived) > 0.005:
        kept["area"] = row["area"]
    return (
        Element(
            id=name,
            label=names[category],
            box=box,
            mask=mask,
            score=score if isinstance(score, float) and 0 <= score <= 1 else None,
            extra={"coco": kept},
        ),
        None,
    )


def _mask(segmentation: Any, size: Image) -> tuple[Mask | None, str]:
    match segmentation:
        case None | []:
            return None, ""
        case {"size": [int(height), int(width)], "counts": list(counts)}:
            if (height, width) != (size.height, size.width):
                return None, "Its mask does not have the size of the picture."
            if any(type(n) is not int or n < 0 for n in counts) or sum(counts) != height * width:
                return None, "The run lengths of its mask do not sum to the picture's size."
            return _of_runs(size, counts)
        case {"size": [int(height), int(width)], "counts": str(text)}:
            runs = decode_counts(text)
            if (height, width) != (size.height, size.width):
                return None, "Its mask does not have the size of the picture."
            if runs is None or sum(runs) != height * width:
                return None, "Its compressed mask cannot be decoded."
            return _of_runs(size, runs)
        case [*parts]:
            outlines = [numbers(part, len(part)) for part in parts if isinstance(part, list)]
            if len(outlines) != len(parts) or any(
                outline is None or len(outline) < 6 or len(outline) % 2 for outline in outlines
            ):
                return None, "A polygon of its mask is not a list of at least three points."
            for outline in outlines:
                if fault := too_long(outline or (), ""):
                    return None, fault.message
            scale = (size.width, size.height)
            return Mask(
                polygons=tuple(
                    tuple(value / scale[index % 2] for index, value in enumerate(outline or ()))
                    for outline in outlines
                )
            ), ""
    return None, "Its segmentation is neither polygons nor run lengths."


def _of_runs(size: Image, counts: Sequence[int]) -> tuple[Mask | None, str]:
    if len(counts) > MAX_RUNS:
        return None, f"Its mask has more than {MAX_RUNS:,} run lengths."
    return Mask(size=(size.height, size.width), counts=tuple(counts)), ""


def decode_counts(text: str) -> list[int] | None:
    """Decode COCO's compressed run lengths (pycocotools' maskApi).

    Each character holds five bits, offset by "0"; bit 6 marks a continuation, and the last group is
    signed. From the third run on, the difference to the run two before is stored.

    Returns:
        Run lengths, or None if the text has another form.
    """
    counts: list[int] = []
    position = 0
    while position < len(text):
        value = shift = 0
        more = True
        while more:
            if position == len(text) or not 48 <= ord(text[position]) < 112 or shift > 60:
                return None
            bits = ord(text[position]) - 48
            value |= (bits & 31) << shift
            more = bool(bits & 32)
            position, shift = position + 1, shift + 5
            if not more and bits & 16:
                value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        if counts[-1] < 0:
            return None
    return counts


def _area(box: Any, mask: Mask | None, size: Image) -> float:
    if mask is not None and mask.counts is not None:
        return float(sum(mask.counts[1::2]))
    if mask is not None and mask.polygons is not None:
        return sum(area(outline) for outline in mask.polygons) * size.width * size.height
    x1, y1, x2, y2 = box
    return (x2 - x1) * size.width * (y2 - y1) * size.height


def _known_categories(documents: Sequence[Document]) -> dict[str, int]:
    """Number the labels as in the file that they come from, followed by new labels."""
    known: dict[str, int] = {}
    labels: list[str] = []
    for document in documents:
        for element in document.elements or ():
            label = _label(element)
            number = (element.extra or {}).get("coco", {}).get("category_id")
            if isinstance(number, int) and number not in known.values():
                known.setdefault(label, number)
            labels.append(label)
    for label in dict.fromkeys(labels):
        if label not in known:
            known[label] = max(known.values(), default=0) + 1
    return known


def _label(element: Element) -> str:
    return element.label or element.description or element.text or ""


def _annotation(
    element: Element,
    size: Image,
    image_id: int | str,
    categories: Mapping[str, int],
    form: Mapping[str, list[Any]],
) -> dict[str, Any]:
    assert element.box is not None  # `write` skips the others
    x1, y1, x2, y2 = element.box
    left, top = pixels(x1, size.width), pixels(y1, size.height)
    extra = (element.extra or {}).get("coco", {})
    row: dict[str, Any] = {
        "id": extra.get("id", len(form["annotations"]) + 1),
        "image_id": image_id,
        "category_id": categories[_label(element)],
        "bbox": [left, top, pixels(x2 - x1, size.width), pixels(y2 - y1, size.height)],
        "area": extra.get("area", round(_area(element.box, element.mask, size), 2)),
    }
    mask = element.mask
    if mask is not None and mask.polygons is not None:
        scale = (size.width, size.height)
        row["segmentation"] = [
            [pixels(value, scale[index % 2]) for index, value in enumerate(outline)]
            for outline in mask.polygons
        ]
    elif mask is not None and mask.counts is not None and mask.size == (size.height, size.width):
        row["segmentation"] = {"size": list(mask.size), "counts": list(mask.counts)}
    row["iscrowd"] = 0
    if element.score is not None:
        row["score"] = element.score
    return row


def _losses(document: Document) -> Iterator[Loss]:
    yield from drop_foreign(document, "coco")
    yield from layout_losses(document, keeps=("box", "mask", "score", "extra"), counts_pixels=True)
    for index, element in enumerate(document.elements or ()):
        path, mask, image = f"elements[{index}].mask", element.mask, document.image
        if mask is not None and mask.file is not None:
            yield Loss(path, "mask", "A mask in another file is not embedded.")
        elif mask is not None and mask.size and image and mask.size != (image.height, image.width):
            yield Loss(path, "mask", "A mask must have the size of the picture.")
