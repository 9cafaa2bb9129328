"""The palette of a document."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import Field
from pydantic_core import PydanticCustomError

from pipelines.documents.part import Hex, Part


class Swatch(Part):
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


def check_weights(palette: Sequence[Swatch]) -> None:
    """Raise PydanticCustomError unless all weights are given, falling and sum to 1000, or none."""
    weights = [swatch.weight for swatch in palette if swatch.weight is not None]
    if not weights:
        return
    if len(weights) != len(palette):
        raise PydanticCustomError("palette", "Either all colours of a palette have weights or none")
    if sum(weights) != 1000 or any(a < b for a, b in pairwise(weights)):
        raise PydanticCustomError(
            "palette", "The weights are not descending, or do not sum to 1000"
        )
