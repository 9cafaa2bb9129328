"""The automaton of a list of items: labels, bounded numbers and separators."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from pipelines.latents.text import SEPARATOR, number

if TYPE_CHECKING:
    from pipelines.latents.grammar.alphabet import Alphabet
    from pipelines.latents.grammar.labels import Node

Numbers = tuple[int, ...]
"""The numbers of an item, in the order of the text."""


class ItemRules(Protocol):
    """The rules of a list of items, by which `ItemGrammar` decides what may come next.

    Attributes:
        max_items: The largest number of items.
        labelled: Whether an item starts with a label.
        number_names: The names of an item's numbers, in the order of the text.
    """

    max_items: int
    labelled: bool
    number_names: tuple[str, ...]

    def bounds(self, numbers: Numbers, before: Sequence[Numbers]) -> tuple[int, int]:
        """Return the least and the greatest value of an item's next number.

        Args:
            numbers: The item's numbers so far, each within its own bounds.
            before: The numbers of the preceding items.
        """

    def may_continue(self, before: Sequence[Numbers]) -> bool:
        """Return whether another item may follow these."""

    def may_end(self, before: Sequence[Numbers]) -> bool:
        """Return whether the list may end after these."""


class Phase(Enum):
    """What comes next in a list of items; the value describes it in error messages."""

    LABEL = "an item's label"
    NUMBERS = "an item's number"
    CLOSE = "a separator or the end"


class ItemNode(NamedTuple):
    """A partial list of items.

    Attributes:
        phase: What comes next.
        items: The numbers of the finished items.
        numbers: The numbers of the current item so far.
        label: The node of the current item's label.
    """

    phase: Phase
    items: tuple[Numbers, ...] = ()
    numbers: Numbers = ()
    label: Node = 0


class ItemGrammar:
    """The `PartGrammar` of a list of items.

    Args:
        rules: The rules of the list.
        alphabet: The token ids.
        end: The id that ends the list.

    Attributes:
        rules: The rules of the list.
        alphabet: The token ids.
        end: The id that ends the list.
    """

    def __init__(self, rules: ItemRules, alphabet: Alphabet, end: int) -> None:
        self.rules, self.alphabet, self.end = rules, alphabet, end
        self._numbers, self._values = alphabet.numbers, alphabet.values
        self._first = Phase.LABEL if rules.labelled else Phase.NUMBERS
        label = alphabet.labels.longest if rules.labelled else 0
        self.longest = rules.max_items * (1 + label + len(rules.number_names)) - 1
        self._cache: dict[tuple[int, ...], np.ndarray] = {}

    def start(self) -> ItemNode:
        """See `PartGrammar`."""
        return ItemNode(self._first)

    def options(self, node: ItemNode) -> np.ndarray:
        """See `PartGrammar`."""
        match node.phase:
            case Phase.NUMBERS:
                low, high = self.rules.bounds(node.numbers, node.items)
                return self._numbers[low : high + 1]
            case Phase.LABEL:
                return self._options_in_label(node)
            case Phase.CLOSE:
                return self._ids(
                    *([self.alphabet.separator] if self.rules.may_continue(node.items) else []),
                    *([self.end] if self.rules.may_end(node.items) else []),
                )

    def follow(self, node: ItemNode, token_id: int) -> ItemNode | None:
        """See `PartGrammar`."""
        match node.phase:
            case Phase.NUMBERS:
                return self._follow_number(node, token_id)
            case Phase.LABEL:
                if token_id in self._values:
                    complete = self.alphabet.labels.complete(node.label)
                    return self._follow_number(node, token_id) if complete else None
                label = self.alphabet.labels.follow(node.label, token_id)
                return None if label is None else node._replace(label=label)
            case Phase.CLOSE:
                if token_id == self.alphabet.separator and self.rules.may_continue(node.items):
                    return ItemNode(self._first, node.items)
                return None

    def complete(self, node: ItemNode) -> bool:
        """See `PartGrammar`."""
        return node.phase is Phase.CLOSE and self.rules.may_end(node.items)

    def expected(self, node: ItemNode) -> str:
        """See `PartGrammar`."""
        match node.phase:
            case Phase.NUMBERS:
                low, high = self.rules.bounds(node.numbers, node.items)
                name = self.rules.number_names[len(node.numbers)]
                return f"{name} from {number(low)} to {number(high)}"
            case Phase.LABEL:
                ends = self.alphabet.labels.complete(node.label)
                return "more of the label or a number" if ends else "a label"
            case Phase.CLOSE:
                return SEPARATOR if self.rules.may_continue(node.items) else ""

    def _follow_number(self, node: ItemNode, token_id: int) -> ItemNode | None:
        value = self._values.get(token_id)
        low, high = self.rules.bounds(node.numbers, node.items)
        if value is None or not low <= value <= high:
            return None
        numbers = (*node.numbers, value)
        if len(numbers) < len(self.rules.number_names):
            return ItemNode(Phase.NUMBERS, node.items, numbers)
        return ItemNode(Phase.CLOSE, (*node.items, numbers))

    def _options_in_label(self, node: ItemNode) -> np.ndarray:
        labels = self.alphabet.labels
        if not labels.complete(node.label):
            return labels.options(node.label)
        low, high = self.rules.bounds(node.numbers, node.items)
        key = (-1, node.label, low, high)
        if key not in self._cache:
            numbers = self._numbers[low : high + 1]
            self._cache[key] = np.concatenate([labels.options(node.label), numbers])
        return self._cache[key]

    def _ids(self, *ids: int) -> np.ndarray:
        if ids not in self._cache:
            self._cache[ids] = np.array(ids, dtype=np.int64)
        return self._cache[ids]
