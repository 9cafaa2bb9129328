"""The grammar of z over token ids: which ids may come next, so that every sampled z is valid.

Each kind provides the automaton of its own part (`Latent.grammar`), which enforces the rules that
`validate` checks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.latents.grammar.alphabet import Alphabet
from pipelines.latents.grammar.part import PartGrammar
from pipelines.latents.grammar.text import TextGrammar
from pipelines.latents.registry import latent_class
from pipelines.latents.text import LatentError, marker
from pipelines.latents.vocabulary import VALUE_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from pipelines.latents.grid_shape import Shape

MAX_LABEL_TOKENS = 8
"""The longest label of an open vocabulary, in tokens, unless the data have longer ones."""

MAX_DESCRIPTION_TOKENS = 256
"""The longest description, in tokens, unless the data have longer ones; 80 English words need
about 110."""


class State(NamedTuple):
    """A partial z; immutable.

    Attributes:
        part: Index of the current kind; -1 before the first marker, the number of kinds after the
            end.
        node: The current part's node, see `PartGrammar`.
    """

    part: int
    node: Hashable = None


class Grammar:
    """The automaton of z for one tokenizer and a fixed sequence of kinds.

    Args:
        tokenizer: A fast T5 tokenizer with the tokens of z (`vocabulary.add_special_tokens`).
        kinds: The kinds of z, in order.
        labels: The labels that boxes and blobs may have; None allows any text.
        max_label_tokens: The longest label, in tokens, if `labels` is None.
        max_description_tokens: The longest description, in tokens.
        shape: Grid and codebook of visual tokens, usually those of the training data; None allows
            any, since z contains its own shape.

    Raises:
        LatentError: If a kind is unknown or occurs twice, a label cannot be encoded, or the shape
            is out of range.
        KaleidoError: If the tokenizer lacks the tokens of z.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        kinds: Sequence[str],
        labels: Sequence[str] | None = None,
        max_label_tokens: int = MAX_LABEL_TOKENS,
        max_description_tokens: int = MAX_DESCRIPTION_TOKENS,
        shape: Shape | None = None,
    ) -> None:
        self.kinds = tuple(kinds)
        self.vocab_size = len(tokenizer)
        self._tokenizer = tokenizer
        for kind in self.kinds:
            if self.kinds.count(kind) > 1:
                raise LatentError(kind, "it occurs twice.", "Name each kind once.")
        classes = [latent_class(kind) for kind in self.kinds]
        markers = [marker(kind) for kind in self.kinds]
        vocabulary = tokenizer.get_vocab()
        if any(token not in vocabulary for token in (*markers, *VALUE_TOKENS)):
            raise KaleidoError(
                "tokenizer",
                f"it lacks the tokens of a z of {', '.join(self.kinds)}.",
                "Call add_special_tokens first.",
                "bad-model",
            )
        alphabet = Alphabet(tokenizer, labels, max_label_tokens, max_description_tokens, shape)
        # The id that opens each part; the end of the sequence closes the last one.
        self._openers: list[int] = [*(vocabulary[m] for m in markers), tokenizer.eos_token_id]
        self._parts: list[PartGrammar] = [
            cls.grammar(alphabet, end) for cls, end in zip(classes, self._openers[1:], strict=True)
        ]
        self._first = np.array(self._openers[:1], dtype=np.int64)
        self._padding = np.array([tokenizer.pad_token_id], dtype=np.int64)

    def replacing(self, makers: Mapping[str, Callable[[PartGrammar, int], PartGrammar]]) -> Grammar:
        """Return a grammar that writes some parts otherwise.

        Args:
            makers: Kind -> makes its automaton from the usual one and the id that ends the part.
        """
        changed = copy(self)
        changed._parts = [
            makers[kind](part, end) if kind in makers else part
            for kind, part, end in zip(self.kinds, self._parts, self._openers[1:], strict=True)
        ]
        return changed

    def start(self) -> State:
        """Return the state of an empty z."""
        return State(-1)

    def done(self, state: State) -> bool:
        """Return whether z is complete, including its end token."""
        return state.part == len(self._parts)

    def in_text(self, state: State) -> bool:
        """Return whether free text is being written, in which repetition is a fault."""
        inside = 0 <= state.part < len(self._parts)
        return inside and isinstance(self._parts[state.part], TextGrammar)

    def legal(self, state: State) -> np.ndarray:
        """Return the ids that may come next.

        Returns:
            int64 (n,), n >= 1; do not modify it. Only padding follows a complete z.
        """
        if 0 <= state.part < len(self._parts):
            return self._parts[state.part].options(state.node)
        return self._padding if self.done(state) else self._first

    def mask(self, states: Sequence[State]) -> np.ndarray:
        """Return the legal ids of a batch as a mask: bool (len(states), len(tokenizer))."""
        mask = np.zeros((len(states), self.vocab_size), dtype=bool)
        for row, state in zip(mask, states, strict=True):
            row[self.legal(state)] = True
        return mask

    def step(self, state: State, token_id: int) -> State:
        """Return the state after one more token.

        Raises:
            LatentError: If the token is illegal.
        """
        after = self._step(state, int(token_id))
        if after is None:
            known = 0 <= token_id < self.vocab_size
            token = self._tokenizer.convert_ids_to_tokens(int(token_id)) if known else token_id
            raise LatentError("z", f"{token!r} is not allowed here.", self._expected(state))
        return after

    def walk(self, ids: Iterable[int], state: State | None = None) -> State:
        """Step through ids, such as a prefix fixed by the user, from `state` or from the start.

        Raises:
            LatentError: If an id is illegal; the message counts positions from 0.
        """
        state = self.start() if state is None else state
        for position, token_id in enumerate(ids):
            try:
                state = self.step(state, token_id)
            except LatentError as error:
                raise LatentError(f"z, token {position}", error.why, error.hint) from error
        return state

    def max_tokens(self) -> int:
        """Return the length of the longest z in tokens, including its end token."""
        return 1 + sum(1 + part.longest for part in self._parts)

    def _step(self, state: State, token_id: int) -> State | None:
        index = state.part
        if index == len(self._parts):
            return state if token_id == self._padding[0] else None
        if index >= 0:
            node = self._parts[index].follow(state.node, token_id)
            if node is not None:
                return State(index, node)
        if token_id != self._openers[index + 1] or not self._may_close(state):
            return None
        after = index + 1
        return State(after, self._parts[after].start() if after < len(self._parts) else None)

    def _may_close(self, state: State) -> bool:
        return state.part < 0 or self._parts[state.part].complete(state.node)

    def _expected(self, state: State) -> str:
        """Describe what is legal in `state`, for error messages."""
        if self.done(state):
            return "Expected padding."
        names = [self._parts[state.part].expected(state.node)] if state.part >= 0 else []
        if self._may_close(state):
            names.append(self._tokenizer.convert_ids_to_tokens(self._openers[state.part + 1]))
        return f"Expected {' or '.join(name for name in names if name)}."
