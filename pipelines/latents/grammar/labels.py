"""Automata over token ids that write the label of an item."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, Protocol

import numpy as np

from pipelines.latents.text import SAFE_CHARACTERS, LatentError, escape

Node = int
"""The number of an automaton's state; 0 is the empty label."""


class LabelAutomaton(Protocol):
    """The interface that grammars need of labels.

    Attributes:
        longest: The longest label, in tokens.
    """

    longest: int

    def options(self, node: Node) -> np.ndarray:
        """Return the ids, int64 (n,), that may continue the label."""

    def follow(self, node: Node, token_id: int) -> Node | None:
        """Return the node after one more token, or None if the token is illegal."""

    def complete(self, node: Node) -> bool:
        """Return whether the label may end here."""


class ClosedLabels:
    """A trie of given labels; a label may be a prefix of another.

    Args:
        labels: The token ids of each label.

    Raises:
        LatentError: If no label is given.
    """

    def __init__(self, labels: Sequence[Sequence[int]]) -> None:
        if not labels:
            raise LatentError("labels", "none are given.", "Give at least one, or None for any.")
        self.longest = max(map(len, labels))
        self._children: list[dict[int, Node]] = [{}]
        self._ends: set[Node] = set()
        for ids in labels:
            node = 0
            for token_id in ids:
                if token_id not in self._children[node]:
                    self._children[node][token_id] = len(self._children)
                    self._children.append({})
                node = self._children[node][token_id]
            self._ends.add(node)
        self._options = [np.array(sorted(c), dtype=np.int64) for c in self._children]

    def options(self, node: Node) -> np.ndarray:
        """See `LabelAutomaton`."""
        return self._options[node]

    def follow(self, node: Node, token_id: int) -> Node | None:
        """See `LabelAutomaton`."""
        return self._children[node].get(token_id)

    def complete(self, node: Node) -> bool:
        """See `LabelAutomaton`."""
        return node in self._ends


class OpenLabels:
    """Any escaped label of 1 to `longest` tokens.

    The characters of a label run through the state machine of `_character_table`. A token is legal
    if its characters lead to a state from which the remaining tokens can still complete the label.
    A node encodes the character state and the number of tokens: ``state * (longest + 1) + tokens``.

    Args:
        texts: The text of every token id; "" for ids that no label may contain.
        longest: The longest label, in tokens.

    Raises:
        LatentError: If no label can be written in `longest` tokens.
    """

    def __init__(self, texts: Sequence[str], longest: int) -> None:
        self.longest = longest
        table, self._accepting = _character_table()
        self._after = _run_tokens(table, texts)
        self._needed = self._tokens_needed(len(table) - 1)
        if self._needed[0] > longest:
            raise LatentError("labels", f"no label can be written in {longest} tokens.")
        self._cache: dict[Node, np.ndarray] = {}

    def options(self, node: Node) -> np.ndarray:
        """See `LabelAutomaton`."""
        if node not in self._cache:
            state, written = divmod(node, self.longest + 1)
            left = self.longest - written - 1
            self._cache[node] = np.flatnonzero(self._needed[self._after[state]] <= left)
        return self._cache[node]

    def follow(self, node: Node, token_id: int) -> Node | None:
        """See `LabelAutomaton`."""
        state, written = divmod(node, self.longest + 1)
        if not 0 <= token_id < self._after.shape[1]:
            return None
        after = int(self._after[state, token_id])
        if self._needed[after] > self.longest - written - 1:
            return None
        return after * (self.longest + 1) + written + 1

    def complete(self, node: Node) -> bool:
        """See `LabelAutomaton`."""
        return node // (self.longest + 1) == self._accepting

    def _tokens_needed(self, dead: int) -> np.ndarray:
        """Return the fewest tokens from each state to the accepting one, at most `longest` + 1."""
        needed = np.full(dead + 1, self.longest + 1)
        needed[self._accepting] = 0
        for _ in range(self.longest):
            through = needed[self._after].min(axis=1) + 1
            needed[:dead] = np.minimum(needed[:dead], through[:dead])
        return needed


class _Pending(NamedTuple):
    """Inside a UTF-8 character: the range of the next byte, and how many bytes follow it."""

    low: int
    high: int
    more: int


class _Escape(NamedTuple):
    """Inside ``%XX``: the UTF-8 state before it, and its first digit if that was read."""

    pending: _Pending | None
    digit: str


_START, _SPACE, _TEXT = "start", "space", "text"
_CharacterState = str | _Pending | _Escape

_LEAD_BYTES = (
    # The Unicode Standard, table 3-7: well-formed UTF-8, which leaves out surrogates.
    (0xC2, 0xDF, _Pending(0x80, 0xBF, 0)),
    (0xE0, 0xE0, _Pending(0xA0, 0xBF, 1)),
    (0xE1, 0xEC, _Pending(0x80, 0xBF, 1)),
    (0xED, 0xED, _Pending(0x80, 0x9F, 1)),
    (0xEE, 0xEF, _Pending(0x80, 0xBF, 1)),
    (0xF0, 0xF0, _Pending(0x90, 0xBF, 2)),
    (0xF1, 0xF3, _Pending(0x80, 0xBF, 2)),
    (0xF4, 0xF4, _Pending(0x80, 0x8F, 2)),
)


def _next_character(state: _CharacterState, char: str) -> _CharacterState | None:
    """Read one character of an escaped label: a leading space, then text with single spaces."""
    if isinstance(state, _Escape):
        if char not in "0123456789ABCDEF":
            return None
        if not state.digit:
            return _Escape(state.pending, char)
        return _next_byte(state.pending, int(state.digit + char, 16))
    if char == "%":
        if state == _START:
            return None
        return _Escape(state if isinstance(state, _Pending) else None, "")
    if isinstance(state, _Pending):
        return None
    if char == " ":
        return None if state == _SPACE else _SPACE
    return _TEXT if state != _START and char in SAFE_CHARACTERS else None


def _next_byte(pending: _Pending | None, byte: int) -> _CharacterState | None:
    if pending is not None:
        if not pending.low <= byte <= pending.high:
            return None
        return _Pending(0x80, 0xBF, pending.more - 1) if pending.more else _TEXT
    if byte < 0x80:
        # `escape` leaves safe characters as they are, so their escapes are not canonical.
        return _TEXT if escape(chr(byte)) != chr(byte) else None
    return next((then for low, high, then in _LEAD_BYTES if low <= byte <= high), None)


@cache
def _character_table() -> tuple[np.ndarray, int]:
    """Tabulate `_next_character`.

    Returns:
        The transitions, int (states + 1, 128), from state and ASCII code to state, and the only
        accepting state. State 0 is the start; the last state is dead and leads only to itself.
    """
    numbers: dict[_CharacterState, int] = {_START: 0}
    rows: list[dict[int, int]] = []
    queue: list[_CharacterState] = [_START]
    while queue:
        state, row = queue.pop(0), {}
        for code in range(128):
            then = _next_character(state, chr(code))
            if then is not None:
                if then not in numbers:
                    numbers[then] = len(numbers)
                    queue.append(then)
                row[code] = numbers[then]
        rows.append(row)
    table = np.full((len(rows) + 1, 128), len(rows))
    for number, row in enumerate(rows):
        table[number, list(row)] = list(row.values())
    return table, numbers[_TEXT]


def _run_tokens(table: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Run the characters of every token from every state: int16 (states + 1, tokens)."""
    dead = len(table) - 1
    after = np.full((len(table), len(texts)), dead, dtype=np.int16)
    usable = [i for i, text in enumerate(texts) if text and text.isascii()]
    if not usable:
        return after
    length = max(len(texts[i]) for i in usable)
    codes = np.full((len(usable), length), -1)
    for row, index in enumerate(usable):
        codes[row, : len(texts[index])] = list(texts[index].encode("ascii"))
    states = np.repeat(np.arange(len(table))[:, None], len(usable), axis=1)
    for column in codes.T:
        states = np.where(column >= 0, table[states, column], states)
    after[:, usable] = states
    return after
