"""Ideogram 4's structured captions: a description, elements with boxes, and hex palettes.

Boxes are ``[y1, x1, y2, x2]``, integers from 0 to 1000. In addition to the rules of the published
verifier, the following are errors: zero-area boxes, booleans as coordinates, empty descriptions and
duplicate keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.documents.dialects.base import (
    Context,
    Reading,
    Written,
    drop,
    drop_parts,
    grid_edges,
    read_object,
)
from pipelines.documents.document import Document, Origin, Style
from pipelines.documents.element import Element
from pipelines.documents.palette import Swatch
from pipelines.documents.problems import Loss, Problem
from pipelines.documents.strict_json import dump, join

SCALE = 1000
STYLE_COLOURS, ELEMENT_COLOURS = 16, 5
_HEX = re.compile(r"#[0-9A-F]{6}")
_PHOTO = ("aesthetics", "lighting", "photo", "medium", "color_palette")
_ART = ("aesthetics", "lighting", "medium", "art_style", "color_palette")
_OBJECT = ("type", "bbox", "desc", "color_palette")
_TEXT = ("type", "bbox", "text", "desc", "color_palette")
_TOP = ("high_level_description", "style_description", "compositional_deconstruction")
_BODY = ("background", "elements")


class Ideogram4:
    """See the module docstring."""

    name = "ideogram4"
    suffix = ".json"
    per_picture = True
    title = "Ideogram 4 and 4.5: JSON captions, boxes y1 x1 y2 x2 from 0 to 1000"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one caption and list all problems."""
        return read_object(data, context, _check, _document)

    def write(self, documents: Sequence[Document]) -> Written:
        """Write one caption per document."""
        files, lost = {}, {}
        for document in documents:
            files[f"{document.key}{self.suffix}"] = dump(_caption(document))
            lost[str(document.key)] = list(_losses(document))
        return Written(files, lost)


def _document(value: Mapping[str, Any], context: Context) -> Document:
    body = value["compositional_deconstruction"]
    style, colours = _read_style(value.get("style_description"))
    return Document(
        key=context.key,
        description=value.get("high_level_description"),
        background=body["background"],
        style=style,
        elements=tuple(_element(index, item) for index, item in enumerate(body["elements"])),
        palette=None if colours is None else tuple(Swatch(hex=colour) for colour in colours),
        origin=Origin(format="ideogram4", version="4", file=context.name, order="yx"),
    )


def _read_style(form: Mapping[str, Any] | None) -> tuple[Style | None, list[str] | None]:
    if form is None:
        return None, None
    photo = "photo" in form
    style = Style(
        medium=form["medium"],
        branch="photo" if photo else "art",
        text=form["photo" if photo else "art_style"],
        aesthetics=form["aesthetics"],
        lighting=form["lighting"],
    )
    return style, form.get("color_palette")


def _element(index: int, item: Mapping[str, Any]) -> Element:
    box = None
    if "bbox" in item:
        y1, x1, y2, x2 = (value / SCALE for value in item["bbox"])
        box = (x1, y1, x2, y2)
    colours = item.get("color_palette")
    return Element(
        id=f"e{index}",
        type="text" if item["type"] == "text" else "object",
        description=item["desc"],
        text=item.get("text"),
        box=box,
        colours=None if colours is None else tuple(colours),
    )


def _caption(document: Document) -> dict[str, Any]:
    caption: dict[str, Any] = {}
    if document.description is not None:
        caption["high_level_description"] = document.description
    if document.style is not None or document.palette is not None:
        caption["style_description"] = _write_style(document)
    caption["compositional_deconstruction"] = {
        "background": document.background or "",
        "elements": [_write_element(element) for element in document.elements or ()],
    }
    return caption


def _write_style(document: Document) -> dict[str, Any]:
    style = document.style or Style()
    photo = style.branch == "photo" or (style.branch is None and style.medium == "photograph")
    values = {
        "aesthetics": style.aesthetics or "",
        "lighting": style.lighting or "",
        "photo" if photo else "art_style": style.text or "",
        "medium": style.medium or ("photograph" if photo else "illustration"),
    }
    form: dict[str, Any] = {key: values[key] for key in (_PHOTO if photo else _ART)[:-1]}
    if document.palette is not None:
        form["color_palette"] = [swatch.hex for swatch in document.palette[:STYLE_COLOURS]]
    return form


def _write_element(element: Element) -> dict[str, Any]:
    form: dict[str, Any] = {"type": "text" if element.type == "text" else "obj"}
    if element.box is not None:
        x1, y1, x2, y2 = grid_edges(element.box, SCALE)
        form["bbox"] = [y1, x1, y2, x2]
    if element.type == "text":
        form["text"] = element.text
    form["desc"] = element.description or element.label or element.text
    if element.colours is not None:
        form["color_palette"] = list(element.colours[:ELEMENT_COLOURS])
    return form


def _losses(document: Document) -> Iterator[Loss]:
    yield from drop(document, "relations", "tokens", "extra")
    yield from drop_parts(
        document, "ellipse", "mask", "score", "count", "depth", "attributes", "extra"
    )
    for index, element in enumerate(document.elements or ()):
        path = f"elements[{index}]"
        if element.label and element.description:
            yield Loss(
                f"{path}.label", "label", "An element has only one text; its description is kept."
            )
        if element.type == "object" and element.text:
            yield Loss(f"{path}.text", "text", "Only text elements have text.")
        if len(element.colours or ()) > ELEMENT_COLOURS:
            yield Loss(f"{path}.colours", "number", f"Only {ELEMENT_COLOURS} colours are kept.")
    if any(swatch.weight is not None for swatch in document.palette or ()):
        yield Loss("palette", "weights", "Colours have no weights; their order is kept.")
    for name in ("composition", "mood", "colour_words"):
        if document.style is not None and getattr(document.style, name):
            yield Loss(f"style.{name}", "style", f"The style has no {name}.")


def _check(value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem("", "type", "It is not a JSON object.")
        return
    yield from _keys("", value, _TOP, ("compositional_deconstruction",), ordered=False)
    if "high_level_description" in value:
        yield from _text("high_level_description", value["high_level_description"], empty=True)
    if "style_description" in value:
        yield from _check_style(value["style_description"])
    if "compositional_deconstruction" in value:
        yield from _check_body(value["compositional_deconstruction"])


def _check_style(style: Any) -> Iterator[Problem]:
    path = "style_description"
    if not isinstance(style, dict):
        yield Problem(path, "type", "It is not an object.")
        return
    if ("photo" in style) == ("art_style" in style):
        yield Problem(path, "branch", "It needs exactly one of photo and art_style.")
        return
    order = _PHOTO if "photo" in style else _ART
    yield from _keys(path, style, order, order[:-1])
    for key in order[:-1]:
        if key in style:
            yield from _text(join(path, key), style[key], empty=True)
    if style.get("medium") == "photograph" and "art_style" in style:
        yield Problem(join(path, "medium"), "branch", "A photograph has photo, not art_style.")
    if "color_palette" in style:
        yield from _colours(join(path, "color_palette"), style["color_palette"], STYLE_COLOURS)


def _check_body(body: Any) -> Iterator[Problem]:
    path = "compositional_deconstruction"
    if not isinstance(body, dict):
        yield Problem(path, "type", "It is not an object.")
        return
    yield from _keys(path, body, _BODY, _BODY)
    if "background" in body:
        yield from _text(join(path, "background"), body["background"], empty=True)
    elements = body.get("elements", [])
    if not isinstance(elements, list):
        yield Problem(join(path, "elements"), "type", "It is not a list.")
        return
    for index, element in enumerate(elements):
        yield from _check_element(f"{path}.elements[{index}]", element)


def _check_element(path: str, element: Any) -> Iterator[Problem]:
    if not isinstance(element, dict):
        yield Problem(path, "type", "It is not an object.")
        return
    if element.get("type") not in ("obj", "text"):
        yield Problem(join(path, "type"), "type", 'It is neither "obj" nor "text".')
        return
    order = _TEXT if element["type"] == "text" else _OBJECT
    needed = ("type", "text", "desc") if element["type"] == "text" else ("type", "desc")
    yield from _keys(path, element, order, needed)
    for key in ("text", "desc"):
        if key in element and key in order:
            yield from _text(join(path, key), element[key])
    if "bbox" in element:
        yield from _bbox(join(path, "bbox"), element["bbox"])
    if "color_palette" in element:
        yield from _colours(join(path, "color_palette"), element["color_palette"], ELEMENT_COLOURS)


def _keys(
    path: str,
    value: Mapping[str, Any],
    order: Sequence[str],
    needed: Sequence[str],
    ordered: bool = True,
) -> Iterator[Problem]:
    for key in value:
        if key not in order:
            yield Problem(join(path, key), "unknown-key", "The format has no such key.")
        elif value[key] is None:
            yield Problem(join(path, key), "null", "null is not a value; leave the key out.")
    for key in needed:
        if key not in value:
            yield Problem(join(path, key), "missing", "The key is missing.")
    known = [key for key in value if key in order]
    if ordered and known != sorted(known, key=order.index):
        yield Problem(path, "key-order", f"The keys must be in the order {', '.join(order)}.")


def _text(path: str, value: Any, empty: bool = False) -> Iterator[Problem]:
    if value is None:
        return  # reported as null
    if not isinstance(value, str):
        yield Problem(path, "type", "It is not a string.")
    elif not empty and not value.strip():
        yield Problem(path, "empty", "The text is empty.")
    elif len(value) > 4000:
        yield Problem(path, "length", "The text has more than 4,000 characters.")


def _bbox(path: str, value: Any) -> Iterator[Problem]:
    if value is None:
        return
    if not isinstance(value, list) or len(value) != 4 or any(type(v) is not int for v in value):
        yield Problem(path, "box", "It is not a list of four integers y1, x1, y2, x2.")
    elif not all(0 <= edge <= SCALE for edge in value):
        yield Problem(path, "box", f"An edge is outside of 0 to {SCALE}.")
    elif not (value[0] < value[2] and value[1] < value[3]):
        yield Problem(path, "box", "It must have y1 < y2 and x1 < x2.")


def _colours(path: str, value: Any, most: int) -> Iterator[Problem]:
    if value is None:
        return
    if not isinstance(value, list):
        yield Problem(path, "type", "It is not a list.")
        return
    if len(value) > most:
        yield Problem(path, "number", f"It has {len(value)} colours; {most} are allowed.")
    for index, colour in enumerate(value):
        if not isinstance(colour, str) or not _HEX.fullmatch(colour):
            yield Problem(f"{path}[{index}]", "colour", "It is not #RRGGBB in upper case.")
