"""A z document in plain English, for models that read nothing else."""

from __future__ import annotations

import numpy as np

from pipelines.documents.dialects.fibo import place_words, size_words
from pipelines.documents.document import Document, Style
from pipelines.documents.element import Element
from pipelines.latents.oklab import srgb_to_oklab

COLOURS = {
    "black": "#000000",
    "dark grey": "#404040",
    "grey": "#808080",
    "light grey": "#C0C0C0",
    "white": "#FFFFFF",
    "red": "#E02020",
    "dark red": "#800010",
    "orange": "#FF8C1A",
    "brown": "#7A4A21",
    "beige": "#E8D8B8",
    "yellow": "#FFE119",
    "olive green": "#6B7A1E",
    "green": "#2CA02C",
    "dark green": "#0B4D1A",
    "light green": "#9BE58A",
    "teal": "#008080",
    "cyan": "#30D5E8",
    "light blue": "#9CC9F5",
    "blue": "#1F5FE0",
    "dark blue": "#0A1A66",
    "purple": "#7B2FBE",
    "magenta": "#E020C0",
    "pink": "#FFB0C8",
}
"""English names of colours, with a typical colour of each."""

_NAMES = tuple(COLOURS)
_STYLE = ("medium", "text", "aesthetics", "lighting", "composition", "mood", "colour_words")


def colour_name(hex: str) -> str:
    """Return the English name that is nearest to a colour in OKLab.

    Args:
        hex: ``#RRGGBB``.
    """
    distance = np.linalg.norm(_oklab(list(COLOURS.values())) - _oklab([hex]), axis=1)
    return _NAMES[int(distance.argmin())]


def sentences(document: Document) -> list[str]:
    """Describe a document in short sentences, the most important first.

    The caption comes first, as it stands; then the description, the elements with their places and
    sizes in words, the background, the style, the relations and the colours. Masks, scores, depths
    and visual tokens have no words.

    Returns:
        Sentences without full stops; none for an empty document.
    """
    found = [document.caption or ""]
    if document.description != document.caption:
        found.append(document.description or "")
    found += [_element(element) for element in document.elements or ()]
    if document.background:
        found.append(f"Background: {document.background}")
    if document.style is not None:
        given = (getattr(document.style, name) for name in _STYLE)
        found.append(", ".join(text for text in given if text))
    names = {each.id: each.label or each.description or "" for each in document.elements or ()}
    for relation in document.relations or ():
        found.append(f"{names[relation.subject]} {relation.text} {names[relation.object]}")
    found.append(_colours([swatch.hex for swatch in document.palette or ()]))
    return [text.strip().rstrip(".") for text in found if text.strip(" .")]


def _element(element: Element) -> str:
    name = element.description or element.label or ""
    if element.label and element.description and element.label not in element.description:
        name = f"{element.label}: {element.description}"
    if element.text is not None:
        name = f'{name} with the words "{element.text}"' if name else f'the words "{element.text}"'
    if element.count is not None and element.count > 1:
        name = f"{element.count} {name}"
    if element.attributes:
        name = ", ".join([name, *element.attributes.values()])
    if element.colours:
        name = f"{name}, {' and '.join(_distinct(element.colours))}"
    box = element.box
    if box is None and element.ellipse is not None:
        e = element.ellipse
        box = (e.x, e.y, e.x, e.y)
        return f"{name} {_place(box)}"
    if box is None:
        return name
    size = {"small": "small ", "large within frame": "large "}.get(size_words(box), "")
    return f"{size}{name} {_place(box)}"


def _place(box: tuple[float, float, float, float]) -> str:
    words = place_words(box).replace("-", " ")
    if words == "center":
        return "in the middle"
    return f"on the {words}" if words in ("left", "right") else f"at the {words}"


def with_words(document: Document) -> Document:
    """Add words for what FIBO's format has no numbers for; words that are there already stay.

    The palette becomes the colour scheme, colours of elements ``shape_and_color``, and the centre
    of an ellipse without a box a location.
    """
    style = document.style or Style()
    scheme = ", ".join(_distinct([swatch.hex for swatch in document.palette or ()]))
    if scheme and style.colour_words is None:
        style = style.model_copy(update={"colour_words": scheme})
    changed = {
        "style": style if style != Style() else None,
        "elements": tuple(_with_words(element) for element in document.elements or ()) or None,
    }
    return document.model_copy(update=changed)


def _with_words(element: Element) -> Element:
    attributes = dict(element.attributes or {})
    if element.colours:
        name = "shape_and_color" if element.type == "object" else "color"
        attributes.setdefault(name, " and ".join(_distinct(element.colours)))
    if element.box is None and element.ellipse is not None:
        e = element.ellipse
        attributes.setdefault("location", place_words((e.x, e.y, e.x, e.y)))
    return element.model_copy(update={"attributes": attributes or None})


def _colours(hexes: list[str]) -> str:
    return f"Colours: {', '.join(_distinct(hexes))}" if hexes else ""


def _distinct(hexes: list[str] | tuple[str, ...]) -> list[str]:
    return list(dict.fromkeys(colour_name(each) for each in hexes))


def _oklab(hexes: list[str]) -> np.ndarray:
    rgb = [[int(each[start : start + 2], 16) for start in (1, 3, 5)] for each in hexes]
    return srgb_to_oklab(np.array(rgb) / 255.0)
