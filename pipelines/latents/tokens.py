"""Tokens: an image as a grid of a visual tokenizer's ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pipelines.latents.base import Latent, Rect, Symbol
from pipelines.latents.grammar.grid import GridGrammar
from pipelines.latents.grid_shape import Shape, read_grid
from pipelines.latents.overlays import draw_cells
from pipelines.latents.text import LatentError, number

if TYPE_CHECKING:
    from pipelines.latents.grammar.alphabet import Alphabet

_TEXT = re.compile(r"(?:<[0-9]{1,4}>\s*)*")


SHOWN = 16
"""Ids that people are shown."""


@dataclass(frozen=True)
class Tokens(Latent):
    """A grid of ids, ``<height><width><greatest id> <id><id>...``, validated on construction.

    The paper joins 32 ids of 8192 by ``#``. Here an id is one of z's 1,001 number tokens, so 64 ids
    cost 64 tokens, plus three for the shape. Ids of larger codebooks take two numbers, which a
    leading ``<0>`` announces: ``<0><height><width><first><second> ...``. Dedicated tokens in the
    prior's vocabulary would halve the length, but a pretrained prior would have to learn thousands
    of embeddings, most of them from few examples.

    Attributes:
        height: Rows; see `Shape` for the ranges.
        width: Columns.
        codebook: Entries of the visual tokenizer's codebook.
        ids: height · width ids in [0, codebook), row by row.

    Raises:
        LatentError: If a number is out of range, or the number of ids is wrong.
    """

    height: int
    width: int
    codebook: int
    ids: tuple[int, ...]

    kind = "tokens"
    version = 1

    @classmethod
    def statistics(cls, latents: Sequence[Self]) -> dict[str, list[Any]]:
        """Return the ``shapes`` of the grids: height, width and codebook size."""
        return {"shapes": [list(shape) for shape in sorted({each.shape for each in latents})]}

    def __post_init__(self) -> None:
        """Store the ids as a tuple and validate them."""
        object.__setattr__(self, "ids", tuple(self.ids))
        self.validate()

    @property
    def shape(self) -> Shape:
        """Grid and codebook, which training records and checks."""
        return Shape(self.height, self.width, self.codebook)

    def crop(self, region: Rect) -> Self | None:
        """Refuse: ids depend on pixels beyond their cell, and cells do not move by fractions."""
        raise LatentError(
            self.kind,
            "visual tokens cannot be cropped with their picture.",
            'Write the data with data.fit = "crop" or "pad", or leave tokens out of z.',
        )

    def validate(self) -> None:
        """Raise LatentError unless the shape is in range and every cell has a valid id."""
        self.shape.check()
        if len(self.ids) != self.height * self.width:
            raise LatentError(
                self.kind, f"there are {len(self.ids)} ids for {self.height} × {self.width} cells."
            )
        for index, value in enumerate(self.ids):
            if type(value) is not int or not 0 <= value < self.codebook:
                raise LatentError(
                    self.kind,
                    f"id {index} is {value!r}; it must be an integer from 0 to "
                    f"{self.codebook - 1}.",
                )

    @classmethod
    def of_grid(cls, ids: np.ndarray, codebook: int) -> Self:
        """Build the latent from a grid of ids, integers (height, width)."""
        height, width = ids.shape
        return cls(height, width, codebook, tuple(ids.ravel().tolist()))

    def readable(self) -> str:
        """Return the shape and the first ids."""
        more = " ..." if len(self.ids) > SHOWN else ""
        ids = " ".join(map(str, self.ids[:SHOWN]))
        return f"{self.height} x {self.width} ids below {self.codebook}: {ids}{more}"

    def to_text(self) -> str:
        """Return the shape followed by the ids row by row."""
        shape = self.shape
        ids = [part for value in self.ids for part in shape.write(value)]
        header, cells = ("".join(map(number, part)) for part in (shape.header, ids))
        return f"{header} {cells}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse `to_text`'s form.

        Raises:
            LatentError: If the text is not a list of numbers, or breaks the kind's rules.
        """
        form = "Write <height><width><greatest id> and one <id> for each cell."
        if not _TEXT.fullmatch(text.strip()):
            raise LatentError(cls.kind, f"{text.strip()[:80]!r} cannot be parsed.", form)
        found = read_grid([int(value) for value in re.findall("[0-9]+", text)])
        if found is None:
            raise LatentError(cls.kind, f"{text.strip()[:80]!r} has no shape.", form)
        shape, ids = found
        return cls(*shape, ids)

    def to_bytes(self) -> bytes:
        """Serialise to JSON: kind, version, shape and ids."""
        return self.pack(height=self.height, width=self.width, codebook=self.codebook, ids=self.ids)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse the output of `to_bytes`.

        Raises:
            LatentError: If the bytes are of another kind or version, or break the kind's rules.
        """
        height, width, codebook, ids = cls.unpack(data, "height", "width", "codebook", "ids")
        if not isinstance(ids, list):
            raise LatentError(cls.kind, "its ids are not a list.")
        return cls(height, width, codebook, tuple(ids))

    @classmethod
    def grammar(cls, alphabet: Alphabet, end: int) -> GridGrammar:
        """Return the automaton of a shape, possibly fixed, and one id per cell."""
        if alphabet.shape is not None:
            alphabet.shape.check()
        return GridGrammar(alphabet, end)

    @classmethod
    def token_rects(cls, symbols: Sequence[Symbol]) -> list[Rect | None]:
        """Return the cell of each id; None for the shape, and for the ids of a single row."""
        numbers = [symbol for symbol in symbols if isinstance(symbol, int)]
        found = read_grid(numbers) if len(numbers) == len(symbols) else None
        if found is None or found[0].height == 1 or found[0].length != len(symbols):
            return super().token_rects(symbols)
        shape, _ = found
        height, width = shape.height, shape.width
        cells = [
            (column / width, row / height, (column + 1) / width, (row + 1) / height)
            for row in range(height)
            for column in range(width)
            for _ in range(shape.digits)
        ]
        return [*[None] * len(shape.header), *cells]

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Fill an image, uint8 (height, width, 3), with one colour per id; return a new array."""
        return draw_cells(image, np.array(self.ids).reshape(self.height, self.width))
