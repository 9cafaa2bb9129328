"""YOLO: one line per object, numbers as fractions; detection, segmentation and oriented boxes.

A row of nine numbers can be an oriented box or a polygon of four points. The three tasks are
therefore three dialects, so that nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.documents.dialects.base import Context, Reading, Written, layout_losses
from pipelines.documents.dialects.geometry import bounds, fraction_box, numbers, too_long
from pipelines.documents.document import Document, Origin
from pipelines.documents.element import Element, Mask
from pipelines.documents.problems import Loss, Problem, errors_of
from pipelines.documents.strict_json import DECIMALS


class Yolo:
    """YOLO labels of one task.

    Args:
        task: ``detect`` (class cx cy w h), ``segment`` (class x y x y …) or ``obb`` (class and
            four corners).
    """

    suffix = ".txt"
    per_picture = False

    def __init__(self, task: str) -> None:
        self._task = task
        self.name = "yolo" if task == "detect" else f"yolo-{task}"
        self.title = f"YOLO {task}: lines of a class number and fractions"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one label file, with class names from `context.names`."""
        problems: list[Problem] = []
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            return Reading([], [Problem("", "encoding", "It is not UTF-8 text.")])
        elements: list[Element] = []
        for index, line in enumerate(text.splitlines()):
            if line.strip():
                element = self._element(f"line {index + 1}", line, len(elements), context, problems)
                elements += [] if element is None else [element]
        if errors_of(problems):
            return Reading([], problems)
        origin = Origin(format=self.name, file=context.name, order="xy")
        return Reading(
            [Document(key=context.key, elements=tuple(elements), origin=origin)], problems
        )

    def write(self, documents: Sequence[Document]) -> Written:
        """Write one label file per document, and the class names to ``data.yaml``."""
        labels = [_label(element) for d in documents for element in d.elements or ()]
        classes = {label: index for index, label in enumerate(dict.fromkeys(labels))}
        files, lost = {}, {}
        for document in documents:
            rows = [
                " ".join([str(classes[_label(element)]), *map(_decimal, row)])
                for element in document.elements or ()
                for row in [self._row(element)]
                if row is not None
            ]
            files[f"{document.key}{self.suffix}"] = "".join(f"{row}\n" for row in rows)
            lost[str(document.key)] = list(self._losses(document))
        names = "".join(f"  {index}: {_yaml(label)}\n" for label, index in classes.items())
        return Written({**files, "data.yaml": f"names:\n{names}" if names else "names: {}\n"}, lost)

    def _element(
        self, path: str, line: str, index: int, context: Context, problems: list[Problem]
    ) -> Element | None:
        parts = line.split()
        try:
            values = numbers([float(part) for part in parts[1:]], len(parts) - 1)
        except ValueError:
            values = None
        if values is None or not parts[0].isdigit() or len(parts[0]) > 6:
            problems.append(Problem(path, "row", "It is not a class number followed by numbers."))
            return None
        outline = self._outline(values)
        if outline is None:
            problems.append(
                Problem(path, "row", f"A row of {self.name} cannot have {len(values)} numbers.")
            )
            return None
        box, fault = fraction_box(bounds(outline), 1, 1, path)
        if fault := fault or too_long(outline, path):
            problems.append(fault)
            return None
        number = int(parts[0])
        label = context.names.get(number)
        if label is None and context.names:
            problems.append(Problem(path, "class", f"Class {number} has no name."))
            return None
        mask = None if self._task == "detect" else Mask(polygons=(tuple(outline),))
        return Element(id=f"e{index}", label=label or str(number), box=box, mask=mask)

    def _outline(self, values: list[float]) -> list[float] | None:
        """Return the outline x, y, x, y …, or None if the row does not fit the task."""
        if self._task == "detect":
            if len(values) != 4:
                return None
            x, y, width, height = values
            left, top, right, low = x - width / 2, y - height / 2, x + width / 2, y + height / 2
            return [left, top, right, low]
        if self._task == "obb":
            return values if len(values) == 8 else None
        return values if len(values) >= 6 and len(values) % 2 == 0 else None

    def _row(self, element: Element) -> list[float] | None:
        """Return the numbers of an element's row, or None if it has no place."""
        if self._task == "detect":
            if element.box is None:
                return None
            x1, y1, x2, y2 = element.box
            return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
        outlines = element.mask.polygons if element.mask is not None else None
        if outlines and (self._task == "segment" or len(outlines[0]) == 8):
            return list(outlines[0])
        if element.box is None:
            return None
        x1, y1, x2, y2 = element.box
        return [x1, y1, x2, y1, x2, y2, x1, y2]

    def _losses(self, document: Document) -> Iterator[Loss]:
        yield from layout_losses(
            document, ("box", "mask"), is_placed=lambda element: self._row(element) is not None
        )
        for index, element in enumerate(document.elements or ()):
            mask = element.mask
            if mask is not None and (
                self._task == "detect" or mask.polygons is None or len(mask.polygons) > 1
            ):
                detect = self._task == "detect"
                why = "A row holds a box alone." if detect else "A row holds at most one polygon."
                yield Loss(f"elements[{index}].mask", "mask", why)


def read_names(data: bytes) -> dict[int, str]:
    """Read the class names of a ``data.yaml``, a list or a mapping from numbers.

    Raises:
        ValueError: If there are none.
    """
    import yaml

    try:
        form = yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError("it is not YAML") from error
    names = form.get("names") if isinstance(form, dict) else None
    rows = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(rows, dict) or not all(type(key) is int for key in rows):
        raise ValueError("it has no list of names")
    return {key: str(value) for key, value in rows.items()}


def _label(element: Element) -> str:
    return element.label or element.description or element.text or ""


def _decimal(value: float) -> str:
    return f"{round(value, DECIMALS):.{DECIMALS}f}".rstrip("0").rstrip(".")


def _yaml(text: str) -> str:
    """Quote a name for YAML; JSON strings are YAML strings."""
    import json

    return json.dumps(text, ensure_ascii=False)
