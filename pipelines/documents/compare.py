"""List the differences between two documents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.documents.document import Document
from pipelines.documents.strict_json import join


@dataclass(frozen=True)
class Difference:
    """One value that differs.

    Attributes:
        path: JSON path of the value.
        before: The value in the first document; None if absent.
        after: The value in the second document; None if absent.
    """

    path: str
    before: Any
    after: Any


def differences(first: Document, second: Document) -> list[Difference]:
    """List the values that differ; elements are matched by id."""
    return list(_walk("", _form(first), _form(second)))


def _form(document: Document) -> dict[str, Any]:
    form = document.model_dump(exclude_none=True)
    if "elements" in form:
        form["elements"] = {element["id"]: element for element in form["elements"]}
    return form


def _walk(path: str, first: Any, second: Any) -> Iterator[Difference]:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in {**first, **second}:
            yield from _walk(join(path, key), first.get(key), second.get(key))
    elif first != second:
        yield Difference(path, first, second)
