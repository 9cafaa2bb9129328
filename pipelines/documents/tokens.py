"""The visual tokens of a document."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from pipelines.documents.part import Part


class VisualTokens(Part):
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
