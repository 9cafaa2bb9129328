"""Alphabet: the token ids from which the automata of z are built."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from pipelines.latents.grammar.labels import ClosedLabels, LabelAutomaton, OpenLabels
from pipelines.latents.text import SEPARATOR
from pipelines.latents.vocabulary import encode_label, number_ids, token_texts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from pipelines.latents.grid_shape import Shape


class Alphabet:
    """The ids of a tokenizer by meaning, and restrictions learned from the training data.

    Args:
        tokenizer: A fast T5 tokenizer with the tokens of z (`vocabulary.add_special_tokens`).
        labels: The labels that boxes and blobs may have; None allows any text.
        max_label_tokens: The longest label, in tokens, if `labels` is None.
        max_description_tokens: The longest description, in tokens.
        shape: Grid and codebook of visual tokens; None allows any.

    Attributes:
        numbers: Ids of the number tokens in ascending order, int64 (GRID + 1,).
        values: Id of a number token -> the number.
        separator: Id of `SEPARATOR`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        labels: Sequence[str] | None,
        max_label_tokens: int,
        max_description_tokens: int,
        shape: Shape | None,
    ) -> None:
        self._tokenizer, self._given = tokenizer, labels
        self._max_label_tokens = max_label_tokens
        self.max_description_tokens, self.shape = max_description_tokens, shape
        self.numbers = np.array(number_ids(tokenizer), dtype=np.int64)
        self.values = {int(token_id): n for n, token_id in enumerate(self.numbers)}
        self.separator: int = tokenizer.convert_tokens_to_ids(SEPARATOR)

    @cached_property
    def labels(self) -> LabelAutomaton:
        """The automaton of labels.

        Raises:
            LatentError: If a label cannot be encoded, or no label is given.
        """
        if self._given is None:
            return OpenLabels(self.texts, self._max_label_tokens)
        return ClosedLabels([encode_label(self._tokenizer, label) for label in self._given])

    @cached_property
    def texts(self) -> list[str]:
        """The text of every token id; "" for added tokens and unused ids."""
        return token_texts(self._tokenizer)
