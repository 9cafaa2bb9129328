"""Which tokens may write a grid of visual tokens: its shape, then one id a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.latents.base import number

if TYPE_CHECKING:
    from pipelines.latents.parts import Alphabet
    from pipelines.latents.tokens import Tokens


class GridNode(NamedTuple):
    """A partial grid.

    Attributes:
        header: Height, width and greatest id, as far as they are written.
        written: How many cells are.
    """

    header: tuple[int, ...]
    written: int


class GridGrammar:
    """The `PartGrammar` of `Tokens`; the kind itself says each number's bounds."""

    def __init__(self, kind: type[Tokens], alphabet: Alphabet, end: int) -> None:
        self._kind, self._alphabet = kind, alphabet
        self._given = () if alphabet.shape is None else alphabet.shape.header
        self._end = np.array([end], dtype=np.int64)
        height, width = (self._bounds((1,) * index)[1] for index in range(2))
        self.longest = _HEADER + height * width

    def start(self) -> GridNode:
        """See `PartGrammar`."""
        return GridNode((), 0)

    def options(self, node: GridNode) -> np.ndarray:
        """See `PartGrammar`."""
        if self.complete(node):
            return self._end
        low, high = self._bounds(node.header)
        return self._alphabet.numbers[low : high + 1]

    def follow(self, node: GridNode, token_id: int) -> GridNode | None:
        """See `PartGrammar`."""
        value = self._alphabet.values.get(token_id)
        low, high = self._bounds(node.header)
        if value is None or not low <= value <= high or self.complete(node):
            return None
        if len(node.header) < _HEADER:
            return GridNode((*node.header, value), 0)
        return GridNode(node.header, node.written + 1)

    def complete(self, node: GridNode) -> bool:
        """See `PartGrammar`."""
        return len(node.header) == _HEADER and node.written == node.header[0] * node.header[1]

    def expected(self, node: GridNode) -> str:
        """See `PartGrammar`."""
        if self.complete(node):
            return ""
        name = (*_NAMES, f"id {node.written}")[len(node.header)]
        low, high = self._bounds(node.header)
        return f"{name} from {number(low)} to {number(high)}"

    def _bounds(self, header: tuple[int, ...]) -> tuple[int, int]:
        if len(header) < len(self._given):
            return self._given[len(header)], self._given[len(header)]
        return self._kind.bounds(header)


_NAMES = ("the height", "the width", "the greatest id")
_HEADER = len(_NAMES)
