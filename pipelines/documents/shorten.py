"""Shorter versions of a z document, for models that read a limited number of tokens."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.documents.document import Document


def shortened(document: Document) -> Iterator[tuple[str, Document]]:
    """Leave more and more out of a document, the least important first.

    The order is the reverse of `pipelines.documents.words.sentences`: colours of elements, the
    palette, relations, style and background; then of the elements, from the last to the first, what
    describes those that have a label; then whole elements, from the last to the first; then the
    description. The caption stays.

    Yields:
        What has just been left out, by its path, and the document without it and all before.
    """
    for number, element in enumerate(document.elements or ()):
        if element.colours:
            document = _with_element(document, number, colours=None)
            yield f"elements[{number}].colours", document
    for name in ("palette", "relations", "style", "background"):
        if getattr(document, name):
            document = document.model_copy(update={name: None})
            yield name, document
    last_first = list(reversed(range(len(document.elements or ()))))
    for number in last_first:
        element = (document.elements or ())[number]
        if element.label and (element.description or element.attributes):
            document = _with_element(document, number, description=None, attributes=None)
            yield f"elements[{number}].description", document
    for number in last_first:
        kept = (document.elements or ())[:number]
        document = document.model_copy(update={"elements": kept})
        yield f"elements[{number}]", document
    if document.description:
        document = document.model_copy(update={"description": None})
        yield "description", document


def _with_element(document: Document, number: int, **changes: None) -> Document:
    elements = list(document.elements or ())
    elements[number] = elements[number].model_copy(update=changes)
    return document.model_copy(update={"elements": tuple(elements)})
