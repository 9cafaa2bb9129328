"""PartGrammar: the interface of the automaton of one part of z."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np


class PartGrammar(Protocol):
    """The automaton of one part of z, from after its marker to before the next marker.

    A node stands for the part written so far and is any immutable value.

    Attributes:
        longest: The largest number of tokens in a part.
    """

    longest: int

    def start(self) -> Hashable:
        """Return the node of an empty part."""

    def options(self, node: Any) -> np.ndarray:
        """Return the ids that may come next, including the one that ends the part.

        Returns:
            int64 (n,), n >= 1.
        """

    def follow(self, node: Any, token_id: int) -> Hashable | None:
        """Return the node after one more token of the part, or None if the token is illegal."""

    def complete(self, node: Any) -> bool:
        """Return whether the part may end here."""

    def expected(self, node: Any) -> str:
        """Describe how the part may continue, for error messages; "" if it can only end."""
