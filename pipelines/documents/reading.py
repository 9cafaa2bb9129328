"""Read documents, and list every problem of those that are invalid."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from pipelines.documents.document import FORMAT, VERSION, Document
from pipelines.documents.problems import Problem, errors_of, require_valid
from pipelines.documents.strict_json import dump, parse


def read_document(data: bytes | str, name: str = "document") -> Document:
    """Read one document.

    Args:
        data: The JSON text.
        name: Name of the file, for errors.

    Raises:
        InvalidDocument: If the document is invalid; the error lists all problems.
    """
    document, problems = check_document(data)
    require_valid(name, problems)
    assert document is not None  # None only with errors, which have raised
    return document


def check_document(data: bytes | str) -> tuple[Document | None, list[Problem]]:
    """Read one document and collect all problems.

    Returns:
        The document, or None if there is an error, and the problems. Codes: those of
        `pipelines.documents.strict_json.parse`, ``null``, ``version``, and pydantic's error types
        such as ``missing``, ``extra_forbidden`` or ``less_than_equal``.
    """
    value, problems = parse(data)
    if errors_of(problems):
        return None, problems
    if isinstance(value, dict) and not _is_known(value.get("version", VERSION)):
        why = f"It is version {value['version']!r:.20}; this version of Kaleido reads {VERSION}."
        return None, [Problem("version", "version", why)]
    problems += [
        Problem(path, "null", "null is not a value; leave the key out.") for path in _nulls(value)
    ]
    if isinstance(value, dict):
        problems += [
            Problem(key, "missing", f"It must be {expected!r}.")
            for key, expected in (("format", FORMAT), ("version", VERSION))
            if key not in value
        ]
    try:
        # Validate JSON text, because strict mode accepts lists as tuples only there.
        document = Document.model_validate_json(dump(value))
    except ValidationError as error:
        problems += [_problem(item) for item in error.errors(include_url=False)]
        return None, problems
    return (None if errors_of(problems) else document), problems


def _problem(item: Any) -> Problem:
    path = ""
    for part in item["loc"]:
        path = f"{path}[{part}]" if isinstance(part, int) else (f"{path}.{part}" if path else part)
    return Problem(path, item["type"], f"{item['msg']}.")


def _is_known(version: Any) -> bool:
    # Compare types too, because 1 == True == 1.0 in Python.
    return type(version) is int and 1 <= version <= VERSION


def _nulls(value: Any, path: str = "") -> Iterator[str]:
    if value is None:
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            if key != "extra":
                yield from _nulls(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nulls(item, f"{path}[{index}]")
