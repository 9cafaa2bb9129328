"""An element of a document: an object in the picture, with its place, mask and colours."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from pipelines.documents.part import MAX_SIDE, Box, Fraction, Hex, Part, Text, check_box


class Ellipse(Part):
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


MAX_RUNS = 200_000
"""Run lengths of a mask: those of a noisy one of 512 pixels a side."""

MAX_OUTLINE = 20_000
"""Numbers of one outline, two for each point."""

Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class Mask(Part):
    """The pixels of an element, in exactly one of three forms.

    Attributes:
        size: Height and width of `counts` in pixels.
        counts: Column-major run lengths that start with background, as in COCO.
        polygons: Outlines x1, y1, x2, y2 …, as fractions of width and height.
        file: A PNG of instance values in the folder of the document.
        value: The value of this element's pixels in `file`.
    """

    size: tuple[Side, Side] | None = None
    counts: (
        Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(max_length=MAX_RUNS)] | None
    ) = None
    polygons: (
        tuple[Annotated[tuple[float, ...], Field(min_length=6, max_length=MAX_OUTLINE)], ...] | None
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
            if sum(self.counts) != height * width:
                raise PydanticCustomError("mask", "The counts do not sum to the size")
        if any(len(outline) % 2 for outline in self.polygons or ()):
            raise PydanticCustomError("mask", "A polygon has an odd number of coordinates")
        return self


class Element(Part):
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
        check_box(self.box)
        if self.type == "text" and self.text is None:
            raise PydanticCustomError("element", "A text element has no text")
        if not (self.label or self.description or self.text):
            raise PydanticCustomError("element", "It has no label, description or text")
        return self
