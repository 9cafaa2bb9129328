"""Tokens: an image as a grid of ids of a visual tokenizer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from pipelines.latents.base import EVERYWHERE, GRID, Latent, LatentError, Place, Word, number
from pipelines.latents.drawing import draw_cells
from pipelines.latents.grid_grammar import GridGrammar

if TYPE_CHECKING:
    from pipelines.latents.parts import Alphabet

MAX_SIDE = 32
"""Most rows and most columns: amused-256 and LlamaGen at 256 pixels have 16."""

MAX_CODEBOOK = GRID + 1
"""Most entries of a codebook: an id is written as one of the numbers from 0 to GRID."""

_TEXT = re.compile(r"(?:<[0-9]{1,4}>\s*)*")


class Shape(NamedTuple):
    """What all grids of one visual tokenizer share.

    Attributes:
        height: Rows, 1 to MAX_SIDE.
        width: Columns, 1 to MAX_SIDE.
        codebook: Entries of the codebook, 1 to MAX_CODEBOOK. Which codebook it is stands in the
            shard's manifest, whose fingerprint covers the tokenizer's weights.
    """

    height: int
    width: int
    codebook: int

    @property
    def header(self) -> tuple[int, int, int]:
        """The numbers that open a grid's text; the greatest id stands for the codebook's size."""
        return self.height, self.width, self.codebook - 1

    def check(self) -> None:
        """Raise LatentError unless each number is within its range."""
        for name, value in (("height", self.height), ("width", self.width)):
            if type(value) is not int or not 1 <= value <= MAX_SIDE:
                raise LatentError(
                    "tokens",
                    f"the {name} is {value!r}; it must be an integer from 1 to {MAX_SIDE}.",
                )
        if type(self.codebook) is not int or not 1 <= self.codebook <= MAX_CODEBOOK:
            raise LatentError(
                "tokens",
                f"the codebook has {self.codebook!r} entries; an id is written as one of "
                f"{MAX_CODEBOOK} numbers.",
                f"Use a visual tokenizer with at most {MAX_CODEBOOK} entries.",
            )


@dataclass(frozen=True)
class Tokens(Latent):
    """A grid of ids: ``<height><width><greatest id> <id><id>...``, one token of z for each.

    The paper joins 32 ids of 8192 by ``#``. Here an id is one of the 1,001 numbers that z has
    anyway, so 64 ids cost 64 tokens and three for the shape. A larger codebook is refused: it
    would need tokens of its own in the prior's vocabulary. Constructing one validates it.

    Attributes:
        height: Rows; see `Shape` for the ranges.
        width: Columns.
        codebook: Entries of the visual tokenizer's codebook.
        ids: height · width ids in [0, codebook), row by row.

    Raises:
        LatentError: If a number is out of range, or there are more or fewer ids.
    """

    height: int
    width: int
    codebook: int
    ids: tuple[int, ...]

    kind = "tokens"
    version = 1
    changes = {
        "set": ("to", '{"set": [row, column], "to": id}'),
        "paste": ("at", '{"paste": [[id, ...], ...], "at": [row, column]}'),
    }

    def __post_init__(self) -> None:
        """Take any sequence of ids and validate."""
        object.__setattr__(self, "ids", tuple(self.ids))
        self.validate()

    @property
    def shape(self) -> Shape:
        """Grid and codebook: what training records and checks."""
        return Shape(self.height, self.width, self.codebook)

    def validate(self) -> None:
        """Raise LatentError unless the shape is in range and every cell has an id."""
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

    def to_text(self) -> str:
        """Write the shape, then the ids row by row."""
        header, ids = ("".join(map(number, part)) for part in (self.shape.header, self.ids))
        return f"{header} {ids}"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `to_text`'s form.

        Raises:
            LatentError: If the text is anything but such numbers, or breaks the kind's rules.
        """
        form = "Write <height><width><greatest id> and one <id> for each cell."
        if not _TEXT.fullmatch(text.strip()):
            raise LatentError(cls.kind, f"{text.strip()[:80]!r} cannot be read.", form)
        numbers = [int(value) for value in re.findall("[0-9]+", text)]
        if len(numbers) < 3:
            raise LatentError(cls.kind, f"{text.strip()!r} has no shape.", form)
        height, width, greatest, *ids = numbers
        return cls(height, width, greatest + 1, tuple(ids))

    def to_bytes(self) -> bytes:
        """Encode as JSON: kind, version, shape and ids."""
        return self.pack(height=self.height, width=self.width, codebook=self.codebook, ids=self.ids)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode `to_bytes`.

        Raises:
            LatentError: If the bytes are not of this kind and version, or break its rules.
        """
        height, width, codebook, ids = cls.unpack(data, "height", "width", "codebook", "ids")
        if not isinstance(ids, list):
            raise LatentError(cls.kind, "its ids are not a list.")
        return cls(height, width, codebook, tuple(ids))

    @classmethod
    def bounds(cls, header: Sequence[int]) -> tuple[int, int]:
        """Return the least and greatest value of a grid's next number.

        Args:
            header: The numbers of the shape so far; where it is whole, an id is next.
        """
        match len(header):
            case 0 | 1:
                return 1, MAX_SIDE
            case 2:
                return 0, MAX_CODEBOOK - 1
            case _:
                return 0, header[2]

    @classmethod
    def grammar(cls, alphabet: Alphabet, end: int) -> GridGrammar:
        """The shape, which may be given, then exactly as many ids as cells."""
        if alphabet.shape is not None:
            alphabet.shape.check()
        return GridGrammar(cls, alphabet, end)

    @classmethod
    def places(cls, words: Sequence[Word]) -> list[Place]:
        """The cell of each id; the shape's numbers are everywhere."""
        match list(words):
            case [int(height), int(width), int(), *ids] if len(ids) == height * width:
                cells = [
                    (column / width, row / height, (column + 1) / width, (row + 1) / height)
                    for row in range(height)
                    for column in range(width)
                ]
                return [EVERYWHERE] * 3 + cells
        return super().places(words)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Cover a uint8 (height, width, 3) image with cells in the colours of their ids."""
        return draw_cells(image, np.array(self.ids).reshape(self.height, self.width))

    def edit(self, change: Mapping[str, Any]) -> Self:
        """Return a changed copy: one cell set, or a rectangle of ids pasted.

        Rows and columns count from 0; ``at`` is the place of the rectangle's first id.

        Raises:
            LatentError: If the change is unknown, leaves the grid, or brings an id that is none.
        """
        verb, target, argument = self.read_change(change)
        rows, corner = ([[argument]], target) if verb == "set" else (target, argument)
        top, left = self._corner(rows, corner)
        ids = list(self.ids)
        for row, values in enumerate(rows, top):
            start = row * self.width + left
            ids[start : start + len(values)] = values
        return replace(self, ids=tuple(ids))

    def _corner(self, rows: Any, corner: Any) -> tuple[int, int]:
        """Return row and column of a rectangle's first id, or raise LatentError if it is none."""
        top, left = self.integers(corner, 2)
        lists = isinstance(rows, list | tuple) and all(isinstance(r, list | tuple) for r in rows)
        if not lists or len({len(row) for row in rows}) != 1 or not rows[0]:
            raise self.bad_change(f"{rows!r} are not rows of ids, all of one length.")
        if top < 0 or left < 0 or top + len(rows) > self.height or left + len(rows[0]) > self.width:
            raise self.bad_change(
                f"{len(rows)} × {len(rows[0])} cells at {[top, left]} leave the grid of "
                f"{self.height} × {self.width}."
            )
        return top, left
