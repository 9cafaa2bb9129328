"""The z document, ``kaleido.z`` version 1: everything that is known about one picture, as JSON.

An absent key means unknown, an empty string or list means that there is none, and null is an error.
The kinds of latents are projections of the document (`pipelines.documents.projection`); dialects
convert it from and to the formats of other tools (`pipelines.documents.dialects`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from pipelines.documents.element import Element
from pipelines.documents.palette import Swatch, check_weights
from pipelines.documents.part import MAX_SIDE, Box, Part, Text, check_box
from pipelines.documents.strict_json import dump
from pipelines.documents.tokens import VisualTokens

FORMAT: Literal["kaleido.z"] = "kaleido.z"
VERSION: Literal[1] = 1
MAX_ELEMENTS = 256
"""Maximum number of elements; the most crowded COCO pictures have 93."""

MAX_KEY = 500
"""Characters of a key."""


class Image(Part):
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
        check_box(self.crop)
        return self


class Style(Part):
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


class Relation(Part):
    """A statement about two elements, which are referred to by id."""

    subject: str
    text: Text
    object: str


class Lost(Part):
    """Something that an importer could not keep."""

    path: str
    why: str


class Origin(Part):
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


class Document(Part):
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
    key: Annotated[str, StringConstraints(min_length=1, max_length=MAX_KEY)] | None = None
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
        check_weights(self.palette or ())
        return self

    def to_json(self) -> str:
        """Write the canonical form on one line; equal documents have equal text."""
        form = self.model_dump(exclude_none=True)
        return dump({"format": FORMAT, "version": VERSION, **form})
