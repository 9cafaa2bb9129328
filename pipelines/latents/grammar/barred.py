"""The automaton of a palette without some colours."""

from __future__ import annotations

import numpy as np

from pipelines.latents.grammar.items import ItemGrammar, ItemNode, Phase


class BarredColours:
    """The `PartGrammar` of a palette that keeps away from some colours.

    The third number of a colour is its last coordinate: only values that end outside of the balls
    around the barred colours may follow, and there always are some.

    Args:
        base: The automaton of palettes.
        barred: The barred colours in OKLab, float (n, 3).
        radius: OKLab distance within which a colour counts as one of them; below 0.3.
    """

    def __init__(self, base: ItemGrammar, barred: np.ndarray, radius: float) -> None:
        self._base, self._barred, self._radius = base, barred, radius
        self.longest = base.longest
        self._cache: dict[tuple[int, ...], np.ndarray] = {}

    def start(self) -> ItemNode:
        """See `PartGrammar`."""
        return self._base.start()

    def options(self, node: ItemNode) -> np.ndarray:
        """See `PartGrammar`."""
        if node.phase is not Phase.NUMBERS or len(node.numbers) != 2:
            return self._base.options(node)
        if node.numbers not in self._cache:
            ids = self._base.options(node)
            item = self._base.rules.item  # type: ignore[attr-defined]
            colours = np.array(
                [item(*node.numbers, self._base.alphabet.values[i], 1).oklab for i in ids.tolist()]
            )
            apart = np.linalg.norm(colours[:, None] - self._barred, axis=-1).min(axis=1)
            self._cache[node.numbers] = ids[apart > self._radius]
        return self._cache[node.numbers]

    def follow(self, node: ItemNode, token_id: int) -> ItemNode | None:
        """See `PartGrammar`."""
        after = self._base.follow(node, token_id)
        return after if after is None or token_id in self.options(node) else None

    def complete(self, node: ItemNode) -> bool:
        """See `PartGrammar`."""
        return self._base.complete(node)

    def expected(self, node: ItemNode) -> str:
        """See `PartGrammar`."""
        return self._base.expected(node)
