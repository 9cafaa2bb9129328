"""The base of all parts of a document, and the types of their values."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

MAX_TEXT = 4000
"""Characters of a caption, a description and any other text."""

MAX_SIDE = 1_000_000
"""Maximum side of a picture or mask in pixels."""

Fraction = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT)]
Hex = Annotated[str, StringConstraints(pattern=r"^#[0-9A-F]{6}$")]
Box = tuple[Fraction, Fraction, Fraction, Fraction]


class Part(BaseModel):
    """A part of a document: immutable, without unknown keys or type conversions."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


def check_box(box: Box | None) -> None:
    """Raise PydanticCustomError if the edges of a box are in the wrong order."""
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        raise PydanticCustomError("box", "A box needs x1 < x2 and y1 < y2")
