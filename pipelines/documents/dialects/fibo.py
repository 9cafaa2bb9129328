"""FIBO's structured captions, which describe everything in words, including places and colours.

The models expect unknown keys to be absent, so empty values are not written. Words for places and
sizes are kept as attributes, not converted to geometry; boxes are written as words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.documents.dialects.base import (
    Context,
    Reading,
    Written,
    drop,
    drop_foreign,
    drop_parts,
    read_object,
)
from pipelines.documents.document import Document, Origin, Style
from pipelines.documents.element import Element
from pipelines.documents.problems import Loss, Problem
from pipelines.documents.strict_json import dump, join

_OBJECT = (
    *("location", "relationship", "relative_size", "shape_and_color", "texture"),
    *("appearance_details", "pose", "expression", "clothing", "action", "gender"),
    *("skin_tone_and_texture", "orientation"),
)
_OBJECT_ORDER = ("description", *_OBJECT[:6], "number_of_objects", *_OBJECT[6:])
_TEXT = ("location", "size", "color", "font", "appearance_details")
_GROUPS = {
    "lighting": ("conditions", "direction", "shadows"),
    "aesthetics": (
        *("composition", "color_scheme", "mood_atmosphere"),
        *("preference_score", "aesthetic_score"),
    ),
    "photographic_characteristics": (
        "depth_of_field",
        "focus",
        "camera_angle",
        "lens_focal_length",
    ),
}
_ORDER = (
    *("short_description", "objects", "background_setting", "lighting", "aesthetics"),
    *("photographic_characteristics", "style_medium", "text_render", "context", "artistic_style"),
)
_NEEDED = (
    "short_description",
    "objects",
    "background_setting",
    "lighting",
    "aesthetics",
    "context",
)
_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "center", "right")


class Fibo:
    """See the module docstring."""

    name = "fibo"
    suffix = ".json"
    per_picture = True
    title = "FIBO: JSON captions in words"

    def read(self, data: bytes, context: Context) -> Reading:
        """Read one caption; null and empty values are treated as absent."""
        return read_object(data, context, _check, _document, _clean)

    def write(self, documents: Sequence[Document]) -> Written:
        """Write one caption per document; boxes become words such as "top left"."""
        files, lost = {}, {}
        for document in documents:
            files[f"{document.key}{self.suffix}"] = dump(_caption(document))
            lost[str(document.key)] = list(_losses(document))
        return Written(files, lost)


def _clean(value: Any) -> Any:
    """Drop null and empty values, as the model's own pipeline does."""
    if isinstance(value, dict):
        form = {key: _clean(item) for key, item in value.items()}
        return {key: item for key, item in form.items() if item not in (None, "", {}, [])}
    return [_clean(item) for item in value] if isinstance(value, list) else value


def _check(value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem("", "type", "It is not a JSON object.")
        return
    for key in value:
        if key not in _ORDER:
            yield Problem(key, "unknown-key", "The format has no such key.")
    for key in _NEEDED:
        if key not in value:
            yield Problem(key, "missing", "The key is missing or empty.", "warning")
    for key in (
        "short_description",
        "background_setting",
        "style_medium",
        "context",
        "artistic_style",
    ):
        yield from _text(key, value.get(key))
    for group, names in _GROUPS.items():
        yield from _object(group, value.get(group, {}), names)
    for group, names in (("objects", _OBJECT_ORDER), ("text_render", ("text", *_TEXT))):
        rows = value.get(group, [])
        if not isinstance(rows, list):
            yield Problem(group, "type", "It is not a list.")
            continue
        if len(rows) > 200:
            yield Problem(group, "number", "It has more than 200 entries.")
        for index, row in enumerate(rows):
            path = f"{group}[{index}]"
            yield from _object(path, row, names)
            if isinstance(row, dict) and names[0] not in row:
                yield Problem(join(path, names[0]), "missing", "The key is missing or empty.")


def _object(path: str, value: Any, names: Sequence[str]) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path, "type", "It is not an object.")
        return
    for key, item in value.items():
        if key not in names:
            yield Problem(join(path, key), "unknown-key", "The format has no such key.")
        elif key == "number_of_objects":
            if type(item) is not int or item < 1:
                yield Problem(join(path, key), "type", "It is not a whole number above 0.")
        else:
            yield from _text(join(path, key), item)


def _text(path: str, value: Any) -> Iterator[Problem]:
    if value is not None and not isinstance(value, str):
        yield Problem(path, "type", "It is not a text.")
    elif value is not None and len(value) > 4000:
        yield Problem(path, "length", "The text has more than 4,000 characters.")


def _document(value: Mapping[str, Any], context: Context) -> Document:
    objects = [
        Element(
            id=f"e{index}",
            description=row["description"],
            count=row.get("number_of_objects"),
            attributes={key: row[key] for key in _OBJECT if key in row} or None,
        )
        for index, row in enumerate(value.get("objects", []))
    ]
    texts = [
        Element(
            id=f"e{len(objects) + index}",
            type="text",
            text=row["text"],
            attributes={key: row[key] for key in _TEXT if key in row} or None,
        )
        for index, row in enumerate(value.get("text_render", []))
    ]
    kept = {
        key: value[key]
        for key in (
            "lighting",
            "aesthetics",
            "photographic_characteristics",
            "context",
            "artistic_style",
        )
        if key in value
    }
    return Document(
        key=context.key,
        description=value.get("short_description"),
        background=value.get("background_setting"),
        style=_style(value),
        elements=(*objects, *texts),
        origin=Origin(format="fibo", file=context.name),
        extra={"fibo": kept} if kept else None,
    )


def _style(value: Mapping[str, Any]) -> Style | None:
    aesthetics, lighting = value.get("aesthetics", {}), value.get("lighting", {})
    photo = value.get("photographic_characteristics")
    text = ", ".join(photo.values()) if photo else value.get("artistic_style")
    fields = {
        "medium": value.get("style_medium"),
        "branch": "photo" if photo else ("art" if text else None),
        "text": text,
        "aesthetics": None,
        "lighting": ", ".join(lighting.values()) or None,
        "composition": aesthetics.get("composition"),
        "mood": aesthetics.get("mood_atmosphere"),
        "colour_words": aesthetics.get("color_scheme"),
    }
    given = {key: item for key, item in fields.items() if item is not None}
    return Style(**given) if given else None


def _caption(document: Document) -> dict[str, Any]:
    """Write the original groups unless the style was changed since."""
    style = document.style or Style()
    kept = (document.extra or {}).get("fibo", {})
    same = document.origin is not None and document.origin.format == "fibo"
    lighting = kept.get("lighting") if same else None
    photo = kept.get("photographic_characteristics") if same else None
    if lighting is None or ", ".join(lighting.values()) != style.lighting:
        lighting = {"conditions": style.lighting}
    if photo is None or ", ".join(photo.values()) != style.text:
        photo = {"lens_focal_length": style.text} if style.branch == "photo" else None
    scores = kept.get("aesthetics", {}) if same else {}
    aesthetics = {
        "composition": style.composition,
        "color_scheme": style.colour_words,
        "mood_atmosphere": style.mood or style.aesthetics,
        **{key: scores[key] for key in ("preference_score", "aesthetic_score") if key in scores},
    }
    artistic = kept.get("artistic_style") if same else None
    elements = document.elements or ()
    form = {
        "short_description": document.description,
        "objects": [_write_object(element) for element in elements if element.type == "object"],
        "background_setting": document.background,
        "lighting": lighting,
        "aesthetics": aesthetics,
        "photographic_characteristics": photo,
        "style_medium": style.medium,
        "text_render": [_write_text(element) for element in elements if element.type == "text"],
        "context": kept.get("context") if same else None,
        "artistic_style": artistic or (style.text if style.branch == "art" else None),
    }
    cleaned: dict[str, Any] = _clean(form)
    return cleaned


def _write_object(element: Element) -> dict[str, Any]:
    form: dict[str, Any] = {"description": element.description or element.label}
    form |= element.attributes or {}
    if element.box is not None:
        form.setdefault("location", place_words(element.box))
        form.setdefault("relative_size", size_words(element.box))
    form |= {"number_of_objects": element.count}
    return {key: form[key] for key in _OBJECT_ORDER if form.get(key) is not None}


def _write_text(element: Element) -> dict[str, Any]:
    form = {"text": element.text} | (element.attributes or {})
    if element.box is not None:
        form.setdefault("location", place_words(element.box))
    return {key: form[key] for key in ("text", *_TEXT) if key in form}


def place_words(box: tuple[float, float, float, float]) -> str:
    """Describe the position of a box by the cell of a 3 x 3 grid that contains its centre."""
    column = _COLUMNS[min(2, int(3 * (box[0] + box[2]) / 2))]
    row = _ROWS[min(2, int(3 * (box[1] + box[3]) / 2))]
    if (row, column) == ("middle", "center"):
        return "center"
    return row if column == "center" else (column if row == "middle" else f"{row}-{column}")


def size_words(box: tuple[float, float, float, float]) -> str:
    """Describe the size of a box within the frame."""
    share = (box[2] - box[0]) * (box[3] - box[1])
    return "small" if share < 0.1 else ("medium" if share < 0.35 else "large within frame")


def _losses(document: Document) -> Iterator[Loss]:
    yield from drop_foreign(document, "fibo")
    yield from drop(document, "palette", "relations", "tokens")
    yield from drop_parts(document, "ellipse", "mask", "colours", "score", "depth")
    for index, element in enumerate(document.elements or ()):
        path = f"elements[{index}]"
        if element.box is not None:
            yield Loss(f"{path}.box", "box", "The format describes places in words.")
        if element.type == "object" and element.label and element.description:
            yield Loss(f"{path}.label", "label", "Its description is kept as the only text.")
        if element.type == "text" and (element.description or element.label):
            yield Loss(f"{path}.description", "description", "A text has no description.")
        unknown = set(element.attributes or ()) - set(
            _OBJECT if element.type == "object" else _TEXT
        )
        for name in sorted(unknown):
            yield Loss(
                f"{path}.attributes.{name}", "attributes", "The format has no such attribute."
            )
