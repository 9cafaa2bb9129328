"""The automaton of free text: given characters, up to a number of characters and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.latents.text import LatentError

if TYPE_CHECKING:
    from pipelines.latents.grammar.alphabet import Alphabet


class TextNode(NamedTuple):
    """A partial text.

    Attributes:
        tokens: Number of tokens.
        characters: Number of characters without leading spaces; at least 1 in a complete text.
    """

    tokens: int
    characters: int


class TextGrammar:
    """The `PartGrammar` of a text that is not blank.

    Args:
        alphabet: The token ids, and the largest number of tokens.
        end: The id that ends the text.
        characters: The ASCII characters that the text may contain, besides spaces.
        most: The largest number of characters.

    Raises:
        LatentError: If no text can be written.
    """

    def __init__(self, alphabet: Alphabet, end: int, characters: frozenset[str], most: int) -> None:
        self.longest = alphabet.max_description_tokens
        self._end, self._most = end, most
        usable = [t if characters.issuperset(t.replace(" ", "")) else "" for t in alphabet.texts]
        self._lengths = np.array([len(text) for text in usable])
        self._first_lengths = np.array([len(text.lstrip(" ")) for text in usable])
        self._longest_token = int(self._lengths.max())
        self._cache: dict[tuple[bool, bool, int], np.ndarray] = {}
        if self.longest < 1 or not self._first_lengths.any():
            raise LatentError("text", f"no text can be written in {self.longest} tokens.")

    def start(self) -> TextNode:
        """See `PartGrammar`."""
        return TextNode(0, 0)

    def options(self, node: TextNode) -> np.ndarray:
        """See `PartGrammar`."""
        left = min(self._left(node), self._longest_token)
        key = (self.complete(node), self._may_be_blank(node), left)
        if key not in self._cache:
            if self.complete(node):
                legal = (self._lengths > 0) & (self._lengths <= left)
                self._cache[key] = np.append(np.flatnonzero(legal), self._end)
            else:
                blank = (self._lengths > 0) & self._may_be_blank(node)
                legal = ((self._first_lengths > 0) | blank) & (self._first_lengths <= left)
                self._cache[key] = np.flatnonzero(legal)
        return self._cache[key]

    def follow(self, node: TextNode, token_id: int) -> TextNode | None:
        """See `PartGrammar`."""
        if not 0 <= token_id < len(self._lengths) or not self._lengths[token_id]:
            return None
        lengths = self._lengths if self.complete(node) else self._first_lengths
        length = int(lengths[token_id])
        if length > self._left(node) or not (length or self._may_be_blank(node)):
            return None
        return TextNode(node.tokens + 1, node.characters + length)

    def complete(self, node: TextNode) -> bool:
        """See `PartGrammar`."""
        return node.characters > 0

    def expected(self, node: TextNode) -> str:
        """See `PartGrammar`."""
        return "text" if self._left(node) else ""

    def _left(self, node: TextNode) -> int:
        """Return how many characters may still follow."""
        return 0 if node.tokens == self.longest else self._most - node.characters

    def _may_be_blank(self, node: TextNode) -> bool:
        """Return whether a lone space may come next, as SentencePiece starts a rare word."""
        return node.tokens == 0 and self.longest > 1
