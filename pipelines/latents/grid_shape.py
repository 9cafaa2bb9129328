"""Grid and codebook of a visual tokenizer, and the numbers that encode a grid in text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipelines.latents.text import GRID, LatentError

MAX_SIDE = 32
"""The largest number of rows and columns: at 256 pixels amused and LlamaGen have 16, Chameleon
32."""

BASE = GRID + 1
"""The number of grid values. Larger codebooks use two per id: ``id = first · BASE + second``."""

MAX_CODEBOOK = BASE**2
"""The largest codebook."""

WIDE = 0
"""Starts the text of a grid whose ids take two numbers each; no grid has zero rows."""


class Shape(NamedTuple):
    """Grid and codebook of a visual tokenizer.

    Attributes:
        height: Rows, 1 to MAX_SIDE. A single row is a sequence without spatial layout, as TiTok's.
        width: Columns, 1 to MAX_SIDE.
        codebook: Entries of the codebook, 1 to MAX_CODEBOOK. The shard's manifest identifies the
            codebook: its fingerprint covers the tokenizer's weights.
    """

    height: int
    width: int
    codebook: int

    @property
    def digits(self) -> int:
        """Numbers per id: 1 or 2."""
        return 1 if self.codebook <= BASE else 2

    @property
    def header(self) -> tuple[int, ...]:
        """The numbers before the ids; the greatest id stands for the codebook's size."""
        mark = () if self.digits == 1 else (WIDE,)
        return *mark, self.height, self.width, *self.write(self.codebook - 1)

    @property
    def length(self) -> int:
        """The number of numbers in a grid's text."""
        return len(self.header) + self.height * self.width * self.digits

    def write(self, value: int) -> tuple[int, ...]:
        """Return the numbers of an id."""
        return (value,) if self.digits == 1 else divmod(value, BASE)

    def check(self) -> None:
        """Raise LatentError if a value is out of range."""
        for name, value in (("height", self.height), ("width", self.width)):
            if type(value) is not int or not 1 <= value <= MAX_SIDE:
                raise LatentError(
                    "tokens",
                    f"the {name} is {value!r}; it must be an integer from 1 to {MAX_SIDE}.",
                )
        if type(self.codebook) is not int or not 1 <= self.codebook <= MAX_CODEBOOK:
            raise LatentError(
                "tokens",
                f"the codebook has {self.codebook!r} entries; an id takes at most two of {BASE} "
                "numbers.",
                f"Use a visual tokenizer with at most {MAX_CODEBOOK} entries.",
            )


LARGEST = Shape(MAX_SIDE, MAX_SIDE, MAX_CODEBOOK)
"""The shape with the longest text."""


def is_wide(header: Sequence[int]) -> bool:
    """Return whether ids take two numbers each, given the header so far."""
    return tuple(header[:1]) == (WIDE,)


def header_length(header: Sequence[int]) -> int:
    """Return the length of the complete header, given the header so far."""
    return 5 if is_wide(header) else 3


def bounds(header: Sequence[int], first: int | None = None) -> tuple[int, int]:
    """Return the least and greatest value of a grid's next number.

    Args:
        header: The header so far; once it is complete, a number of an id comes next.
        first: The first number of a two-number id, if its second number comes next.
    """
    wide = is_wide(header)
    match len(header) - wide:
        case 0:
            return 1 if wide else WIDE, MAX_SIDE
        case 1:
            return 1, MAX_SIDE
        case 2:
            return int(wide), GRID
        case 3 if wide:
            return 0, GRID
    if not wide:
        return 0, header[2]
    if first is None:
        return 0, header[3]
    return 0, header[4] if first == header[3] else GRID


def read_grid(numbers: Sequence[int]) -> tuple[Shape, tuple[int, ...]] | None:
    """Split the numbers of a grid's text into shape and ids; None if there is no header.

    The ranges of the shape and the ids, and the number of ids, are not checked.
    """
    length, wide = header_length(numbers), is_wide(numbers)
    if len(numbers) < length or max(numbers) > GRID:
        return None
    height, width, *greatest = numbers[wide:length]
    ids = list(numbers[length:])
    if not wide:
        return Shape(height, width, greatest[0] + 1), tuple(ids)
    shape = Shape(height, width, greatest[0] * BASE + greatest[1] + 1)
    if shape.digits == 1 or len(ids) % 2:
        return None
    pairs = zip(ids[::2], ids[1::2], strict=True)
    return shape, tuple(first * BASE + second for first, second in pairs)
