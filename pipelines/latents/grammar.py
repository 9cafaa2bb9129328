"""The grammar of z over token ids: which ids may come next, so that every drawn z parses.

A number's bounds come from the kind itself (`ItemList.bounds`), hence a drawn z is also valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.latents.base import GRID, LatentError, number
from pipelines.latents.items import SEPARATOR, ItemList, Numbers
from pipelines.latents.kinds import latent_class
from pipelines.latents.labels import ClosedLabels, LabelAutomaton, Node, OpenLabels
from pipelines.latents.sequence import MARKERS, SPECIAL_TOKENS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class Phase(Enum):
    """What comes next in a partial z."""

    OPEN = "the marker of the first kind, or the end"
    LABEL = "an item's label"
    NUMBERS = "an item's number"
    CLOSE = "a separator, the next kind's marker, or the end"
    DONE = "padding"


class State(NamedTuple):
    """A partial z; immutable.

    Attributes:
        phase: What comes next.
        part: Index of the kind that is being written.
        items: Numbers of that kind's finished items.
        numbers: Numbers of the item that is being written.
        label: Its label so far; 0 is the empty label.
    """

    phase: Phase
    part: int
    items: tuple[Numbers, ...] = ()
    numbers: Numbers = ()
    label: Node = 0


class Grammar:
    """The automaton of z for a tokenizer and a fixed sequence of kinds.

    Args:
        tokenizer: A fast T5 tokenizer with the tokens of z (`vocabulary.add_special_tokens`).
        kinds: The kinds of z, in their order.
        labels: The labels that boxes and blobs may have; None for any text.
        max_label_tokens: Most tokens of a label where `labels` is None.

    Raises:
        LatentError: If a kind is unknown or occurs twice, or a label cannot be written.
        KaleidoError: If the tokenizer lacks the tokens of z.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        kinds: Sequence[str],
        labels: Sequence[str] | None = None,
        max_label_tokens: int = 8,
    ) -> None:
        vocabulary = tokenizer.get_vocab()
        if any(token not in vocabulary for token in SPECIAL_TOKENS):
            raise KaleidoError(
                "tokenizer", "it lacks the tokens of z.", "Call add_special_tokens first."
            )
        self.kinds = tuple(kinds)
        self.vocab_size = len(tokenizer)
        self._tokenizer = tokenizer
        self._classes = [_list_class(kind, self.kinds) for kind in self.kinds]
        self._labels: LabelAutomaton | None = None
        if any(cls.labelled for cls in self._classes):
            self._labels = (
                OpenLabels(tokenizer, max_label_tokens)
                if labels is None
                else ClosedLabels(tokenizer, labels)
            )
        self._numbers = np.array([vocabulary[number(n)] for n in range(GRID + 1)], dtype=np.int64)
        self._values = {int(token_id): n for n, token_id in enumerate(self._numbers)}
        self._separator: int = vocabulary[SEPARATOR]
        self._pad: int = tokenizer.pad_token_id
        end: int = tokenizer.eos_token_id
        # What opens each part; the end of the sequence stands for the part after the last.
        self._openers = [*(vocabulary[MARKERS[kind]] for kind in self.kinds), end]
        self._cache: dict[tuple[int, ...], np.ndarray] = {}

    def start(self) -> State:
        """Return the state of an empty z."""
        return State(Phase.OPEN, 0)

    def done(self, state: State) -> bool:
        """Whether z is complete, its end included."""
        return state.phase is Phase.DONE

    def legal(self, state: State) -> np.ndarray:
        """Return the ids that may come next.

        Returns:
            int64 (n,), n >= 1, not to be modified; a complete z is followed by padding only.
        """
        match state.phase:
            case Phase.NUMBERS:
                low, high = self._bounds(state)
                return self._numbers[low : high + 1]
            case Phase.LABEL:
                return self._legal_in_label(state)
            case Phase.CLOSE:
                cls = self._classes[state.part]
                return self._ids(
                    *([self._separator] if cls.may_continue(state.items) else []),
                    *([self._openers[state.part + 1]] if cls.may_end(state.items) else []),
                )
            case Phase.OPEN:
                return self._ids(self._openers[0])
            case Phase.DONE:
                return self._ids(self._pad)

    def mask(self, states: Sequence[State]) -> np.ndarray:
        """Return the legal ids of a batch as a mask: bool (len(states), len(tokenizer))."""
        mask = np.zeros((len(states), self.vocab_size), dtype=bool)
        for row, state in zip(mask, states, strict=True):
            row[self.legal(state)] = True
        return mask

    def step(self, state: State, token_id: int) -> State:
        """Return the state after one more token.

        Raises:
            LatentError: If the token is not legal there.
        """
        after = self._step(state, int(token_id))
        if after is None:
            known = 0 <= token_id < self.vocab_size
            token = self._tokenizer.convert_ids_to_tokens(int(token_id)) if known else token_id
            raise LatentError("z", f"{token!r} cannot stand here.", self._expected(state))
        return after

    def walk(self, ids: Iterable[int], state: State | None = None) -> State:
        """Step through given ids, a prefix that the user fixed say, from `state` or the start.

        Raises:
            LatentError: If an id is not legal; the message counts from 0.
        """
        state = self.start() if state is None else state
        for position, token_id in enumerate(ids):
            try:
                state = self.step(state, token_id)
            except LatentError as error:
                raise LatentError(f"z, token {position}", error.why, error.mend) from error
        return state

    def max_tokens(self) -> int:
        """Return the most tokens that a z can have, its end included."""
        longest = self._labels.longest if self._labels else 0
        return 1 + sum(
            cls.max_items * (1 + longest * cls.labelled + len(cls.number_names))
            for cls in self._classes
        )

    def _step(self, state: State, token_id: int) -> State | None:
        match state.phase:
            case Phase.NUMBERS:
                return self._step_number(state, token_id)
            case Phase.LABEL:
                return self._step_label(state, token_id)
            case Phase.CLOSE:
                cls = self._classes[state.part]
                if token_id == self._separator and cls.may_continue(state.items):
                    return self._open_item(state.part, state.items)
                if token_id == self._openers[state.part + 1] and cls.may_end(state.items):
                    return self._open_part(state.part + 1)
            case Phase.OPEN:
                if token_id == self._openers[0]:
                    return self._open_part(0)
            case Phase.DONE:
                if token_id == self._pad:
                    return state
        return None

    def _step_number(self, state: State, token_id: int) -> State | None:
        value = self._values.get(token_id)
        low, high = self._bounds(state)
        if value is None or not low <= value <= high:
            return None
        numbers = (*state.numbers, value)
        if len(numbers) < len(self._classes[state.part].number_names):
            return State(Phase.NUMBERS, state.part, state.items, numbers)
        return State(Phase.CLOSE, state.part, (*state.items, numbers))

    def _step_label(self, state: State, token_id: int) -> State | None:
        automaton = self._label_automaton()
        if token_id in self._values:
            return self._step_number(state, token_id) if automaton.complete(state.label) else None
        label = automaton.follow(state.label, token_id)
        return None if label is None else state._replace(label=label)

    def _legal_in_label(self, state: State) -> np.ndarray:
        automaton = self._label_automaton()
        if not automaton.complete(state.label):
            return automaton.options(state.label)
        low, high = self._bounds(state)
        key = (-1, state.label, low, high)
        if key not in self._cache:
            self._cache[key] = np.concatenate(
                [automaton.options(state.label), self._numbers[low : high + 1]]
            )
        return self._cache[key]

    def _open_part(self, part: int) -> State:
        return State(Phase.DONE, part) if part == len(self.kinds) else self._open_item(part, ())

    def _open_item(self, part: int, items: tuple[Numbers, ...]) -> State:
        labelled = self._classes[part].labelled
        return State(Phase.LABEL if labelled else Phase.NUMBERS, part, items)

    def _bounds(self, state: State) -> tuple[int, int]:
        return self._classes[state.part].bounds(state.numbers, state.items)

    def _label_automaton(self) -> LabelAutomaton:
        assert self._labels is not None  # only labelled kinds have the phase LABEL
        return self._labels

    def _ids(self, *ids: int) -> np.ndarray:
        if ids not in self._cache:
            self._cache[ids] = np.array(ids, dtype=np.int64)
        return self._cache[ids]

    def _expected(self, state: State) -> str:
        """Say what is legal in `state`, for a message."""
        if state.phase is Phase.NUMBERS:
            name = self._classes[state.part].number_names[len(state.numbers)]
            low, high = self._bounds(state)
            return f"Expected {name} from {number(low)} to {number(high)}."
        if state.phase is Phase.LABEL:
            ends = self._label_automaton().complete(state.label)
            return f"Expected {'more of the label or a number' if ends else 'a label'}."
        tokens = self._tokenizer.convert_ids_to_tokens(self.legal(state).tolist())
        return f"Expected {' or '.join(tokens)}."


def _list_class(kind: str, kinds: Sequence[str]) -> type[ItemList[Any]]:
    cls = latent_class(kind)
    if not issubclass(cls, ItemList):
        raise LatentError(kind, "the grammar does not cover this kind.")
    if kinds.count(kind) > 1:
        raise LatentError(kind, "it occurs twice.", "Name each kind once.")
    return cls
