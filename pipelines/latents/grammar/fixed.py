"""The automaton of a part that is given: one text and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class FixedPart:
    """The `PartGrammar` of given ids.

    Args:
        ids: The ids of the part, without its marker.
        end: The id that ends it.
    """

    def __init__(self, ids: Sequence[int], end: int) -> None:
        self._ids = np.array([*ids, end], dtype=np.int64)
        self.longest = len(ids)

    def start(self) -> int:
        """See `PartGrammar`: a node is the number of ids that are written."""
        return 0

    def options(self, node: int) -> np.ndarray:
        """See `PartGrammar`."""
        return self._ids[node : node + 1]

    def follow(self, node: int, token_id: int) -> int | None:
        """See `PartGrammar`."""
        return node + 1 if node < self.longest and token_id == self._ids[node] else None

    def complete(self, node: int) -> bool:
        """See `PartGrammar`."""
        return node == self.longest

    def expected(self, node: int) -> str:
        """See `PartGrammar`."""
        return "" if self.complete(node) else "the given text"
