"""Read boxes from raw answers of vision-language models.

The order and unit of coordinates is fixed for each model family and never guessed. Boxes that are
reversed, out of range or without a label are reported and skipped, never repaired.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from pipelines.documents.dialects.base import Context, Reading
from pipelines.documents.dialects.geometry import fraction_box, numbers
from pipelines.documents.document import MAX_ELEMENTS, Document, Origin
from pipelines.documents.element import Element
from pipelines.documents.problems import Problem
from pipelines.documents.strict_json import parse

Found = tuple[str, str, list[float], float, float]
"""Path, label, edges (left, top, right, bottom), and the picture's size in the same unit."""

MAX_ANSWER = 50_000
"""Characters; the longest answers have some 4,000 tokens."""

_MARKS = re.compile(
    r"<\|(?:im_start\|>(?:assistant\s)?|im_end\|>|endoftext\|>)|</?s>|<(?:pad|bos|eos)>"
)
"""Special tokens that begin, end or pad an answer. Answers hold them, because decoding without
special tokens would remove Qwen2-VL's and PaliGemma's boxes too."""

_NOTHING = re.compile(r"(?:```(?:json)?)?\s*(?:\[\s*\]|none)\.?\s*(?:```)?", re.IGNORECASE)
"""An answer that there is no such object."""


class Answer:
    """The answer format of one model family. Read only.

    Args:
        name: Name of the dialect.
        title: One line for the list of formats.
        find: Finds the boxes in an answer.
        order: Order of the coordinates.
    """

    suffix = ".txt"

    def __init__(
        self,
        name: str,
        title: str,
        find: Callable[[str, Context, list[Problem]], Iterator[Found]],
        order: str = "xy",
    ) -> None:
        self.name, self.title, self._find, self._order = name, title, find, order

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one answer.

        An empty one, an empty list and "none" give a document without elements; any other answer
        in which no box is found is an error.
        """
        problems: list[Problem] = []
        text = _MARKS.sub("", data.decode("utf-8", "replace")).strip()
        if _NOTHING.fullmatch(text):
            text = ""
        if len(text) > MAX_ANSWER:
            return Reading(
                [], [Problem("", "size", f"It has more than {MAX_ANSWER:,} characters.")]
            )
        elements: list[Element] = []
        seen: set[tuple[str, tuple[float, ...]]] = set()
        repeats = 0
        for path, label, edges, width, height in self._find(text, context, problems):
            box, fault = fraction_box(edges, width, height, path)
            label = " ".join(label.split())[:4000]
            if fault is not None:
                problems.append(Problem(path, fault.code, fault.message, "warning"))
            elif not label:
                problems.append(Problem(path, "label", "The box has no label.", "warning"))
            elif (label, box) in seen:
                repeats += 1  # a model that loops writes the same box until its tokens end
            elif box is not None and len(elements) < MAX_ELEMENTS:
                seen.add((label, box))
                elements.append(Element(id=f"e{len(elements)}", label=label, box=box))
        if repeats:
            why = f"{repeats} boxes repeat earlier ones and are left out."
            problems.append(Problem("", "repeat", why, "warning"))
        if text and not elements:
            problems.append(
                Problem("", "answer", f"The answer has no boxes in the format of {self.name}.")
            )
            return Reading([], problems)
        origin = Origin(format=self.name, order="yx" if self._order == "yx" else "xy")
        return Reading(
            [Document(key=context.key, elements=tuple(elements), origin=origin)], problems
        )


def _json_rows(text: str, problems: list[Problem]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read the objects in an answer: a list, a single object, or what is complete of a cut list."""
    start = text.find("[")
    body = text[start:] if start >= 0 else ""
    end = body.rfind("]")
    value, faults = parse(body[: end + 1]) if end >= 0 else (None, [])
    if not isinstance(value, list) or faults or not any(isinstance(row, dict) for row in value):
        # Without a list around the object, the first bracket is that of its numbers.
        value, whole = [], text.strip().strip("`").removeprefix("json").strip()
        for match in re.finditer(r"\{[^{}]*\}", text):
            row, wrong = parse(match.group())
            value += [] if row is None or wrong else [row]
            if row is not None:  # the fault of one object leaves the others, so it is a warning
                problems += [Problem(f.path, f.code, f.message, "warning") for f in wrong]
        if value and not isinstance(parse(whole)[0], dict):
            problems.append(Problem("", "cut", "The answer was cut off or is not JSON.", "warning"))
    for index, row in enumerate(value):
        if isinstance(row, dict):
            yield f"[{index}]", row


def _json_boxes(
    key: str, order: str, scale: float | None
) -> Callable[[str, Context, list[Problem]], Iterator[Found]]:
    """Make a finder for JSON rows with a label and four numbers.

    Args:
        key: Key of the numbers.
        order: ``xy`` or ``yx``.
        scale: Size of the picture in the same unit; None for pixels of the context's size.
    """

    def find(text: str, context: Context, problems: list[Problem]) -> Iterator[Found]:
        width = scale or context.width
        height = scale or context.height
        if width is None or height is None:
            why = "The model uses pixels of its resized input: set --width and --height."
            problems.append(Problem("", "size", why))
            return
        for path, row in _json_rows(text, problems):
            edges = numbers(row.get(key), 4)
            label = row.get("label", row.get("text_content", ""))
            if edges is None or not isinstance(label, str):
                problems.append(Problem(path, "row", f"It has no label or {key}.", "warning"))
                continue
            if order == "yx":
                edges = [edges[1], edges[0], edges[3], edges[2]]
            yield path, label, edges, width, height

    return find


_QWEN2 = re.compile(
    r"<\|object_ref_start\|>([^<]*)<\|object_ref_end\|>|<ref>([^<]*)</ref>"
    r"|\((\d{1,4}),\s*(\d{1,4})\),\s*\((\d{1,4}),\s*(\d{1,4})\)",
    re.DOTALL,
)
_FLORENCE = re.compile(r"(?:<loc_\d{1,3}>\s*)+")
_PALIGEMMA = re.compile(r"((?:<loc\d{4}>\s*){4})(?:<seg\d{3}>\s*)*([^;<]*)")
_KOSMOS = re.compile(
    r"<phrase>([^<]*)</phrase>\s*"
    r"<object>((?:<patch_index_\d{4}>|</delimiter_of_multi_objects/>|\s)*)"
)
_KOSMOS_PAIR = re.compile(r"<patch_index_(\d{4})>\s*<patch_index_(\d{4})>")


def _qwen2(text: str, context: Context, problems: list[Problem]) -> Iterator[Found]:
    label = ""
    for match in _QWEN2.finditer(text):
        tagged, old, *edges = match.groups()
        if tagged is not None or old is not None:
            label = tagged if tagged is not None else old
        else:
            yield f"character {match.start()}", label, [float(v) for v in edges], 999, 999


def _florence(text: str, context: Context, problems: list[Problem]) -> Iterator[Found]:
    end = 0
    for match in _FLORENCE.finditer(text):
        path, label, end = f"character {end}", text[end : match.start()], match.end()
        bins = [int(v) for v in re.findall(r"\d+", match.group())]
        if len(bins) % 4:
            why = f"{len(bins)} numbers are no boxes of four."
            problems.append(Problem(path, "row", why, "warning"))
        for index in range(0, len(bins) - len(bins) % 4, 4):
            # A bin represents its centre.
            edges = [(value + 0.5) for value in bins[index : index + 4]]
            yield path, label, edges, 1000, 1000


def _paligemma(text: str, context: Context, problems: list[Problem]) -> Iterator[Found]:
    for match in _PALIGEMMA.finditer(text):
        y1, x1, y2, x2 = (float(v) for v in re.findall(r"\d{4}", match.group(1)))
        yield f"character {match.start()}", match.group(2), [x1, y1, x2, y2], 1024, 1024


def _kosmos(text: str, context: Context, problems: list[Problem]) -> Iterator[Found]:
    for match in _KOSMOS.finditer(text):
        for first, last in _KOSMOS_PAIR.findall(match.group(2)):
            # Cells of a 32 x 32 grid, by row. Corners lie at their centres; a box within one row
            # or column covers its cells.
            (top, left), (low, right) = divmod(int(first), 32), divmod(int(last), 32)
            near, far = (0.0, 1.0) if top == low or left == right else (0.5, 0.5)
            edges = [left + near, top + near, right + far, low + far]
            yield f"character {match.start()}", match.group(1), edges, 32, 32


ANSWERS = (
    Answer("qwen2-vl", "Answers of Qwen-VL and Qwen2-VL: tags, 0 to 999", _qwen2),
    Answer(
        "qwen2.5-vl",
        "Answers of Qwen2.5-VL: JSON, pixels of the resized input",
        _json_boxes("bbox_2d", "xy", None),
    ),
    Answer("qwen3-vl", "Answers of Qwen3-VL: JSON, 0 to 1000", _json_boxes("bbox_2d", "xy", 1000)),
    Answer(
        "gemini",
        "Answers of Gemini: JSON, y1 x1 y2 x2, 0 to 1000",
        _json_boxes("box_2d", "yx", 1000),
        "yx",
    ),
    Answer("florence-2", "Answers of Florence-2: location tokens", _florence),
    Answer("paligemma", "Answers of PaliGemma: location tokens, y first", _paligemma, "yx"),
    Answer("kosmos-2", "Answers of Kosmos-2: cells of a 32 x 32 grid", _kosmos),
)
