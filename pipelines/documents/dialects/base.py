"""The interface of a format of another tool: read, verify and write, with all losses reported."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Protocol, runtime_checkable

from pipelines.documents.document import MAX_KEY, Document
from pipelines.documents.element import Element
from pipelines.documents.problems import Loss, Problem, errors_of
from pipelines.documents.strict_json import parse

DOCUMENT_FIELDS = (
    *("description", "background", "style", "palette", "relations", "tokens", "extra"),
)
ELEMENT_FIELDS = (
    *("box", "ellipse", "mask", "colours", "score", "count", "depth", "attributes", "extra"),
)
"""What a document and its elements may hold beside labels and texts."""


@dataclass(frozen=True)
class Context:
    """Information that a file does not contain itself.

    Attributes:
        name: Name of the file, for messages and for the key of its document.
        width: Width of the picture in pixels, for pixel-based formats that do not contain it.
        height: Height of the picture in pixels.
        names: Class names by index, for YOLO.
    """

    name: str = "file"
    width: int | None = None
    height: int | None = None
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The record's key: the file's name without folder and extensions."""
        return PurePosixPath(self.name).name.split(".", 1)[0][:MAX_KEY] or "file"


@dataclass(frozen=True)
class Reading:
    """The result of reading one file.

    Attributes:
        documents: The documents that could be read, with keys.
        problems: All errors and warnings.
    """

    documents: list[Document]
    problems: list[Problem]


@dataclass(frozen=True)
class Written:
    """Documents in another format.

    Attributes:
        files: File name -> contents.
        lost: Losses by document key.
    """

    files: dict[str, str]
    lost: dict[str, list[Loss]]


class Dialect(Protocol):
    """A format of structured captions or annotations that can be read.

    Attributes:
        name: Name for ``--from`` and ``--to``.
        suffix: File suffix with its dot.
        title: One line for the list of formats.
    """

    name: str
    suffix: str
    title: str

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one file. Errors become problems; a document with an error is skipped."""
        ...


@runtime_checkable
class WritableDialect(Dialect, Protocol):
    """A format that can also be written.

    Attributes:
        per_picture: Whether each document has a file of its own, which does not depend on the
            others, so that many documents can be written part by part.
    """

    per_picture: bool

    def write(self, documents: Sequence[Document]) -> Written:
        """Write documents that have keys. List everything that the format cannot represent."""
        ...


def drop(document: Document, *fields: str) -> Iterator[Loss]:
    """List the fields of a document that have a value and cannot be written."""
    for name in fields:
        if getattr(document, name) not in (None, (), ""):
            yield Loss(name, name, f"The format has no {name}.")


def drop_parts(document: Document, *fields: str) -> Iterator[Loss]:
    """List the fields of the elements that have a value and cannot be written."""
    for index, element in enumerate(document.elements or ()):
        for name in fields:
            if getattr(element, name) not in (None, (), ""):
                yield Loss(
                    f"elements[{index}].{name}", name, f"Elements have no {name} in this format."
                )


def drop_foreign(document: Document, own: str) -> Iterator[Loss]:
    """List the values in ``extra`` that come from other formats than the one that is written.

    Args:
        document: The document that is written.
        own: The key under which the format keeps its own values.
    """
    places = [("extra", document.extra)]
    places += [(f"elements[{i}].extra", e.extra) for i, e in enumerate(document.elements or ())]
    for path, extra in places:
        for name in extra or {}:
            if name != own:
                yield Loss(f"{path}.{name}", "extra", f"The format has no place for {name}.")


def layout_losses(
    document: Document,
    keeps: Collection[str] = ("box",),
    counts_pixels: bool = False,
    is_placed: Callable[[Element], bool] = lambda element: element.box is not None,
) -> Iterator[Loss]:
    """List what a format of labelled places cannot hold.

    Args:
        document: The document that is written.
        keeps: Fields of the document and of its elements that the format holds.
        counts_pixels: Whether the format needs the picture's size.
        is_placed: Whether an element has a place that the format can write.
    """
    if counts_pixels and document.image is None:
        why = "The format counts pixels, and the picture's size is not known."
        yield Loss("image", "image", why)
    yield from drop(document, *(name for name in DOCUMENT_FIELDS if name not in keeps))
    yield from drop_parts(document, *(name for name in ELEMENT_FIELDS if name not in keeps))
    for index, element in enumerate(document.elements or ()):
        path = f"elements[{index}]"
        if not is_placed(element):
            yield Loss(path, "place", "The element has no place that the format can write.")
        texts = [element.label, element.description, element.text]
        if "description" not in keeps and sum(map(bool, texts)) > 1:
            yield Loss(f"{path}.description", "description", "An element has one text: its label.")


def read_object(
    data: bytes,
    context: Context,
    check: Callable[[Any], Iterable[Problem]],
    build: Callable[[Any, Context], Document],
    clean: Callable[[Any], Any] = lambda value: value,
) -> Reading:
    """Read a file that holds one JSON value.

    Args:
        data: The file.
        context: What it does not say.
        check: Lists the problems of the value.
        build: Makes the document of a value without errors.
        clean: Changes the value before it is checked.
    """
    value, problems = parse(data)
    if not errors_of(problems):
        value = clean(value)
        problems += check(value)
    documents = [] if errors_of(problems) else [build(value, context)]
    return Reading(documents, problems)


def read_lines(
    data: bytes, build: Callable[[Any, str, int, list[Problem]], Document | None]
) -> Reading:
    """Read JSON lines.

    Args:
        data: The file.
        build: Makes the document of a line's value, given where it stands and its number from 0,
            or adds problems and returns None.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    for index, line in enumerate(data.splitlines()):
        if not line.strip():
            continue
        where = f"line {index + 1}"
        value, faults = parse(line)
        problems += [Problem(where, fault.code, fault.message) for fault in faults]
        if not errors_of(faults):
            document = build(value, where, index, problems)
            documents += [] if document is None else [document]
    return Reading(documents, problems)


def grid_edges(box: tuple[float, float, float, float], scale: int) -> tuple[int, int, int, int]:
    """Round a box of fractions to integers from 0 to `scale`, at least one unit wide and high."""
    x1, y1, x2, y2 = (round(value * scale) for value in box)
    x1, y1 = min(x1, scale - 1), min(y1, scale - 1)
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)
