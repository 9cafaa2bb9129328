"""The z document, ``kaleido.z`` version 1: everything that is known about one picture, as JSON.

An absent key means unknown, an empty string or list means that there is none, and null is an error.
The kinds of latents are projections of the document (`pipelines.documents.projection`); dialects
convert it from and to the formats of other tools (`pipelines.documents.dialects`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pipelines.documents.problems import Problem, errors_of, require_valid
from pipelines.documents.strict_json import dump, parse

FORMAT: Literal["kaleido.z"] = "kaleido.z"
VERSION: Literal[1] = 1
MAX_ELEMENTS = 256
"""Maximum number of elements; the most crowded COCO pictures have 93."""

MAX_TEXT = 4000
"""Characters of a caption, a description and any other text."""

MAX_SIDE = 1_000_000
"""Maximum side of a picture in pixels."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Hex = Annotated[str, StringConstraints(pattern=r"^#[0-9A-F]{6}$")]
Box = tuple[Fraction, Fraction, Fraction, Fraction]


class _Part(BaseModel):
    """A part of a document: immutable, without unknown keys or type conversions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class Image(_Part):
    """The picture that a document describes.

    Attributes:
        width: Pixels, after the EXIF orientation is applied.
        height: Pixels.
        crop: The part of the original picture that the document covers: left, top, right and
            bottom as fractions of the original.
    """

    width: int = Field(ge=1, le=MAX_SIDE)
    height: int = Field(ge=1, le=MAX_SIDE)
    crop: Box | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_box(self.crop)
        return self


class Style(_Part):
    """The style of the picture.

    Attributes:
        medium: ``photograph``, ``painting``, ``illustration``, ``3d_render`` or free text.
        branch: Whether `text` describes a photograph or artwork.
        text: The camera and lens of a photograph, or the technique of an artwork.
        aesthetics: The overall impression.
        lighting: Kind and direction of light.
        composition: The arrangement of the parts.
        mood: The atmosphere.
        colour_words: The colour scheme, in words.
    """

    medium: Text | None = None
    branch: Literal["photo", "art"] | None = None
    text: Text | None = None
    aesthetics: Text | None = None
    lighting: Text | None = None
    composition: Text | None = None
    mood: Text | None = None
    colour_words: Text | None = None


class Ellipse(_Part):
    """An ellipse, measured in square pixels.

    Attributes:
        x: Centre, as a fraction of the width.
        y: Centre, as a fraction of the height.
        major: Longer half-axis, as a fraction of the width.
        minor: Shorter half-axis, as a fraction of the width.
        angle: Clockwise angle from the x axis to the longer axis, degrees in [0, 180).
    """

    x: float
    y: float
    major: float = Field(gt=0)
    minor: float = Field(gt=0)
    angle: float = Field(ge=0, lt=180)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.minor > self.major:
            raise PydanticCustomError("ellipse", "The minor half-axis is longer than the major one")
        return self


class Mask(_Part):
    """The pixels of an element, in exactly one of three forms.

    Attributes:
        size: Height and width of `counts` in pixels.
        counts: Column-major run lengths that start with background, as in COCO.
        polygons: Outlines x1, y1, x2, y2 …, as fractions of width and height.
        file: A PNG of instance values in the folder of the document.
        value: The value of this element's pixels in `file`.
    """

    size: tuple[int, int] | None = None
    counts: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=200_000)] | None = (
        None
    )
    polygons: (
        tuple[Annotated[tuple[float, ...], Field(min_length=6, max_length=20_000)], ...] | None
    ) = None
    file: Text | None = None
    value: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        forms = [self.counts is not None, self.polygons is not None, self.file is not None]
        if sum(forms) != 1 or (self.counts is None) != (self.size is None):
            raise PydanticCustomError(
                "mask", "A mask must have size and counts, polygons, or file and value"
            )
        if (self.file is None) != (self.value is None):
            raise PydanticCustomError("mask", "A mask's file and value belong together")
        if self.counts is not None and self.size is not None:
            height, width = self.size
            if min(height, width) < 1 or sum(self.counts) != height * width:
                raise PydanticCustomError("mask", "The counts do not sum to the size")
        if any(len(outline) % 2 for outline in self.polygons or ()):
            raise PydanticCustomError("mask", "A polygon has an odd number of coordinates")
        return self


class Element(_Part):
    """An object in the picture. It needs at least one of label, description and text.

    Attributes:
        id: Identifier within the document, used by `Relation`.
        type: ``text`` for lettering, with the verbatim `text`.
        label: The name of the object, a word or a short phrase.
        description: The appearance of the object.
        text: Lettering, verbatim.
        box: Left, top, right and bottom, as fractions of width and height.
        ellipse: The best-fitting ellipse.
        mask: The object's pixels.
        colours: Main colours, the most frequent first.
        score: Confidence of the detector, from 0 to 1.
        count: Number of objects that the element represents.
        depth: Distance from the viewer, in any unit.
        attributes: Further properties by name.
        extra: Values of the original format, kept but never interpreted.
    """

    id: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    type: Literal["object", "text"] = "object"
    label: Text | None = None
    description: Text | None = None
    text: Text | None = None
    box: Box | None = None
    ellipse: Ellipse | None = None
    mask: Mask | None = None
    colours: Annotated[tuple[Hex, ...], Field(max_length=16)] | None = None
    score: Fraction | None = None
    count: Annotated[int, Field(ge=1)] | None = None
    depth: float | None = None
    attributes: dict[str, Text] | None = None
    extra: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_box(self.box)
        if self.type == "text" and self.text is None:
            raise PydanticCustomError("element", "A text element has no text")
        if not (self.label or self.description or self.text):
            raise PydanticCustomError("element", "It has no label, description or text")
        return self


class Swatch(_Part):
    """One colour of the palette.

    Attributes:
        hex: The colour as ``#RRGGBB``.
        weight: Share of the picture in thousandths.
        grid: The exact colour of a palette latent, OKLab on the 0–1000 grid; `hex` is rounded.
    """

    hex: Hex
    weight: Annotated[int, Field(ge=1, le=1000)] | None = None
    grid: (
        tuple[
            Annotated[int, Field(ge=0, le=1000)],
            Annotated[int, Field(ge=0, le=1000)],
            Annotated[int, Field(ge=0, le=1000)],
        ]
        | None
    ) = None


class Relation(_Part):
    """A statement about two elements, which are referred to by id."""

    subject: str
    text: Text
    object: str


class VisualTokens(_Part):
    """The picture as ids of a visual tokenizer.

    Attributes:
        tokenizer: SHA-256 of the tokenizer's weights, or "" if unknown.
        height: Number of rows.
        width: Number of columns.
        codebook: Number of codebook entries.
        ids: height · width ids, row by row.
    """

    tokenizer: str
    height: int = Field(ge=1, le=1000)
    width: int = Field(ge=1, le=1000)
    codebook: int = Field(ge=2)
    ids: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=100_000)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.ids) != self.height * self.width:
            raise PydanticCustomError("tokens", "The number of ids is not height times width")
        if self.ids and max(self.ids) >= self.codebook:
            raise PydanticCustomError("tokens", "An id is beyond the codebook")
        return self


class Lost(_Part):
    """Something that an importer could not keep."""

    path: str
    why: str


class Origin(_Part):
    """The origin of a document.

    Attributes:
        format: Dialect of the original; ``kaleido`` for a drawn or extracted z.
        version: Version of that format.
        file: Name of the file.
        order: Order of the file's coordinates, ``xy`` or ``yx``.
        lost: Everything that could not be kept.
    """

    format: str
    version: str | None = None
    file: Text | None = None
    order: Literal["xy", "yx"] | None = None
    lost: tuple[Lost, ...] | None = None


class Document(_Part):
    """A z document.

    Attributes:
        format: Always ``kaleido.z``.
        version: Always 1.
        key: The record's key, for files with several documents.
        image: The picture's size.
        caption: The user's caption, which is never part of z.
        description: Dense description of the whole picture.
        background: Description of the background.
        style: The style of the picture.
        elements: Elements from back to front.
        palette: Main colours by descending weight.
        relations: Relations between elements.
        tokens: Ids of a visual tokenizer.
        origin: The origin of the document.
        extra: Values of the original format, kept but never interpreted.
    """

    format: Literal["kaleido.z"] = FORMAT
    version: Literal[1] = VERSION
    key: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    image: Image | None = None
    caption: Text | None = None
    description: Text | None = None
    background: Text | None = None
    style: Style | None = None
    elements: Annotated[tuple[Element, ...], Field(max_length=MAX_ELEMENTS)] | None = None
    palette: Annotated[tuple[Swatch, ...], Field(max_length=16)] | None = None
    relations: Annotated[tuple[Relation, ...], Field(max_length=1000)] | None = None
    tokens: VisualTokens | None = None
    origin: Origin | None = None
    extra: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        ids = [element.id for element in self.elements or ()]
        if len(set(ids)) != len(ids):
            raise PydanticCustomError("ids", "Two elements have the same id")
        for relation in self.relations or ():
            if not {relation.subject, relation.object} <= set(ids):
                raise PydanticCustomError("relations", "A relation names an unknown element")
        _check_weights(self.palette or ())
        return self

    def to_json(self) -> str:
        """Write the canonical form on one line; equal documents have equal text."""
        form = self.model_dump(exclude_none=True)
        return dump({"format": FORMAT, "version": VERSION, **form})


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


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the document."""
    schema = Document.model_json_schema()
    schema["required"] = ["format", "version"]
    return _without_null({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


def _without_null(schema: Any) -> Any:
    """Drop the null alternative, which represents an absent key only in Python."""
    if isinstance(schema, list):
        return [_without_null(item) for item in schema if item != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    form = {
        key: _without_null(item)
        for key, item in schema.items()
        if not (key == "default" and item is None)
    }
    if len(form.get("anyOf", ())) == 1:
        form |= form.pop("anyOf")[0]
    return form


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


def _check_box(box: Box | None) -> None:
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        raise PydanticCustomError("box", "A box needs x1 < x2 and y1 < y2")


def _check_weights(palette: Sequence[Swatch]) -> None:
    weights = [swatch.weight for swatch in palette if swatch.weight is not None]
    if not weights:
        return
    if len(weights) != len(palette):
        raise PydanticCustomError("palette", "Either all colours of a palette have weights or none")
    if sum(weights) != 1000 or any(a < b for a, b in pairwise(weights)):
        raise PydanticCustomError(
            "palette", "The weights are not descending, or do not sum to 1000"
        )
