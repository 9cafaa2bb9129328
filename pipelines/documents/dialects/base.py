"""What every format of other tools offers: read, write and verify, with nothing lost in silence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable

from pipelines.documents.document import Document
from pipelines.documents.problems import Loss, Problem


@dataclass(frozen=True)
class Context:
    """What a file does not say itself.

    Attributes:
        name: The file's name, for messages and for the key of its document.
        width: Width of the picture in pixels, for formats that count pixels without naming it.
        height: Height of the picture in pixels.
        names: Class names by number, for YOLO.
    """

    name: str = "file"
    width: int | None = None
    height: int | None = None
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The record's key: the file's name without folder and extensions."""
        return PurePosixPath(self.name).name.split(".", 1)[0] or "file"


@dataclass(frozen=True)
class Reading:
    """What was found in one file.

    Attributes:
        documents: Those that could be read, each with its key.
        problems: Every fault and warning.
    """

    documents: list[Document]
    problems: list[Problem]


@dataclass(frozen=True)
class Written:
    """Documents in another format.

    Attributes:
        files: File name to contents.
        lost: What the format cannot hold, by the key of the document.
    """

    files: dict[str, str]
    lost: dict[str, list[Loss]]


class Dialect(Protocol):
    """A format of structured captions or annotations that can be read.

    Attributes:
        name: What ``--from`` and ``--to`` take.
        suffix: Of its files, with the dot.
        title: One line for the list of formats.
    """

    name: str
    suffix: str
    title: str

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one file. Faults become problems; a document with an error is left out."""
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
        """Write documents; each has a key. What the format cannot hold is listed as lost."""
        ...


def drop(document: Document, *fields: str) -> Iterator[Loss]:
    """List those of a document's fields that are given and cannot be written."""
    for name in fields:
        if getattr(document, name) not in (None, (), ""):
            yield Loss(name, name, f"The format has no {name}.")


def drop_parts(document: Document, *fields: str) -> Iterator[Loss]:
    """List those of the elements' fields that are given and cannot be written."""
    for index, element in enumerate(document.elements or ()):
        for name in fields:
            if getattr(element, name) not in (None, (), ""):
                yield Loss(
                    f"elements[{index}].{name}", name, f"An element of the format has no {name}."
                )


def grid_edges(box: tuple[float, float, float, float], scale: int) -> tuple[int, int, int, int]:
    """Round a box of fractions to integers from 0 to `scale`, at least one unit wide and high."""
    x1, y1, x2, y2 = (round(value * scale) for value in box)
    x1, y1 = min(x1, scale - 1), min(y1, scale - 1)
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)
