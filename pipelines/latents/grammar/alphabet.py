"""What the grammar of z and the grammars of its parts say to each other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.latents.base import SEPARATOR
from pipelines.latents.grammar.labels import ClosedLabels, LabelAutomaton, OpenLabels, token_texts
from pipelines.latents.sequence import VALUE_TOKENS, marker, number_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from pipelines.latents.tokens import Shape


class PartGrammar(Protocol):
    """The automaton of one kind's part of z, from after its marker to before the next one.

    A node is the part written so far: any immutable value. `longest` is the most tokens of a part.
    """

    longest: int

    def start(self) -> Hashable:
        """Return the node of an empty part."""

    def options(self, node: Any) -> np.ndarray:
        """Return the ids that may come next, what ends the part among them: int64 (n,), n >= 1."""

    def follow(self, node: Any, token_id: int) -> Hashable | None:
        """Return the node after one more token of the part, or None if it is not legal there."""

    def complete(self, node: Any) -> bool:
        """Whether the part may end here."""

    def expected(self, node: Any) -> str:
        """Name what may go on with the part, for a message; empty if it can only end."""


class Alphabet:
    """A tokenizer's ids as the kinds see them, and what narrows z beyond the rules of the kinds.

    Args:
        tokenizer: A fast T5 tokenizer with the tokens of z (`vocabulary.add_special_tokens`).
        kinds: The kinds of z, in order.
        labels: The labels that boxes and blobs may have; None for any text.
        max_label_tokens: Most tokens of a label where `labels` is None.
        max_description_tokens: Most tokens of a description.
        shape: Grid and codebook of visual tokens; None for any.

    Attributes:
        markers: Ids of what opens each of `kinds`.
        numbers: Ids of the numbers from 0 to GRID, int64 (GRID + 1,).
        values: The number that such an id writes.
        separator: Id of `SEPARATOR`.

    Raises:
        KaleidoError: If the tokenizer lacks the tokens of z.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        kinds: Sequence[str],
        labels: Sequence[str] | None,
        max_label_tokens: int,
        max_description_tokens: int,
        shape: Shape | None,
    ) -> None:
        vocabulary = tokenizer.get_vocab()
        markers = [marker(kind) for kind in kinds]
        if any(token not in vocabulary for token in (*markers, *VALUE_TOKENS)):
            raise KaleidoError(
                "tokenizer",
                f"it lacks the tokens of a z of {', '.join(kinds)}.",
                "Call add_special_tokens first.",
            )
        self.markers: list[int] = [vocabulary[token] for token in markers]
        self._tokenizer, self._given = tokenizer, labels
        self._max_label_tokens = max_label_tokens
        self.max_description_tokens, self.shape = max_description_tokens, shape
        self.numbers = np.array(number_ids(tokenizer), dtype=np.int64)
        self.values = {int(token_id): n for n, token_id in enumerate(self.numbers)}
        self.separator: int = vocabulary[SEPARATOR]

    @cached_property
    def labels(self) -> LabelAutomaton:
        """Which tokens may write a label.

        Raises:
            LatentError: If a label cannot be written, or none is given.
        """
        if self._given is None:
            return OpenLabels(self._tokenizer, self._max_label_tokens)
        return ClosedLabels(self._tokenizer, self._given)

    @cached_property
    def texts(self) -> list[str]:
        """What each id writes within text; empty for added tokens and for holes."""
        return token_texts(self._tokenizer)
