"""The automaton of a grid of visual tokens: its shape, then one id per cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.latents.grid_shape import LARGEST, bounds, header_length, is_wide
from pipelines.latents.text import number

if TYPE_CHECKING:
    from pipelines.latents.grammar.alphabet import Alphabet


class GridNode(NamedTuple):
    """A partial grid.

    Attributes:
        header: The numbers of the shape so far.
        written: The number of ids so far.
        first: The first number of a two-number id, if the second comes next.
    """

    header: tuple[int, ...]
    written: int
    first: int | None = None


class GridGrammar:
    """The `PartGrammar` of a grid.

    Args:
        alphabet: The token ids, and the shape if it is fixed.
        end: The id that ends the grid.
    """

    def __init__(self, alphabet: Alphabet, end: int) -> None:
        self._alphabet = alphabet
        self._given = () if alphabet.shape is None else alphabet.shape.header
        self._end = np.array([end], dtype=np.int64)
        self.longest = (alphabet.shape or LARGEST).length

    def start(self) -> GridNode:
        """See `PartGrammar`."""
        return GridNode((), 0)

    def options(self, node: GridNode) -> np.ndarray:
        """See `PartGrammar`."""
        if self.complete(node):
            return self._end
        low, high = self._bounds(node)
        return self._alphabet.numbers[low : high + 1]

    def follow(self, node: GridNode, token_id: int) -> GridNode | None:
        """See `PartGrammar`."""
        value = self._alphabet.values.get(token_id)
        low, high = self._bounds(node)
        if value is None or not low <= value <= high or self.complete(node):
            return None
        if not _has_shape(node):
            return GridNode((*node.header, value), 0)
        if is_wide(node.header) and node.first is None:
            return GridNode(node.header, node.written, value)
        return GridNode(node.header, node.written + 1)

    def complete(self, node: GridNode) -> bool:
        """See `PartGrammar`."""
        if not _has_shape(node):
            return False
        height, width = node.header[is_wide(node.header) :][:2]
        return node.written == height * width

    def expected(self, node: GridNode) -> str:
        """See `PartGrammar`."""
        if self.complete(node):
            return ""
        low, high = self._bounds(node)
        return f"{_name(node)} from {number(low)} to {number(high)}"

    def _bounds(self, node: GridNode) -> tuple[int, int]:
        if len(node.header) < len(self._given):
            return self._given[len(node.header)], self._given[len(node.header)]
        return bounds(node.header, node.first)


def _has_shape(node: GridNode) -> bool:
    return len(node.header) == header_length(node.header)


def _name(node: GridNode) -> str:
    """Name the next number, for error messages."""
    if _has_shape(node):
        return f"id {node.written}" + (", second number," if node.first is not None else "")
    return _NAMES[len(node.header) - is_wide(node.header)]


_NAMES = ("the height", "the width", "the greatest id", "the greatest id, second number,")
