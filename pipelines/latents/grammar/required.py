"""Automata of lists that must contain some items, and must not contain others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from pipelines.latents.grammar.items import ItemGrammar, ItemNode, ItemRules, Numbers, Phase
from pipelines.latents.text import LatentError, unescape


class Region(NamedTuple):
    """Where the centre of an item may be, in half grid units: an inclusive range on each axis."""

    x: tuple[int, int]
    y: tuple[int, int]

    def covers(self, place: Place) -> bool:
        """Return whether a centre, or every centre of a region, lies in this region."""
        if isinstance(place, Region):
            ends = zip(place, self, strict=True)
            return all(least >= low and most <= high for (least, most), (low, high) in ends)
        return place is not None and all(
            low <= value <= high for value, (low, high) in zip(place, self, strict=True)
        )


Place = tuple[int, int] | Region | None
"""The centre of an item in half grid units, a region in which it may be anywhere, or outside of all
regions."""


class PlacedRules(ItemRules, Protocol):
    """Rules of items that have a label and a centre."""

    def centre(self, numbers: Numbers) -> tuple[int, int]:
        """Return the centre of an item in half grid units."""

    def narrow(self, numbers: Numbers, region: Region) -> tuple[int, int] | None:
        """Return the range of the next number with which the centre can lie in a region.

        Returns:
            Inclusive bounds, which may reach beyond `bounds`; None if the number does not matter.
        """


@dataclass(frozen=True)
class Required:
    """What a list of objects must contain.

    Attributes:
        total: The number of objects; None for any.
        exact: Label -> the number of objects of this label.
        needs: A label and a region each, None for anywhere; every need has an object of its own.
        forbidden: Labels that no object has.
    """

    total: int | None = None
    exact: tuple[tuple[str, int], ...] = ()
    needs: tuple[tuple[str, Region | None], ...] = ()
    forbidden: frozenset[str] = field(default_factory=frozenset)

    def missing(self, labels: Sequence[str], centres: Sequence[Place]) -> Counter[str]:
        """Count the objects that a list still lacks, by label, whatever its total is."""
        counts, exact = Counter(labels), dict(self.exact)
        lacking: Counter[str] = Counter()
        for label in {*exact, *(label for label, _ in self.needs)}:
            regions = [region for name, region in self.needs if name == label]
            places = [c for name, c in zip(labels, centres, strict=True) if name == label]
            unmet = len(regions) - _most_pairs(regions, places)
            lacking[label] = max(exact.get(label, 0) - counts[label], unmet)
        return +lacking

    def can_follow(self, labels: Sequence[str], centres: Sequence[Place], most: int) -> bool:
        """Return whether a list of `most` objects or fewer that begins with these can be whole."""
        counts, exact = Counter(labels), dict(self.exact)
        lacking = self.missing(labels, centres)
        left = (most if self.total is None else self.total) - len(labels)
        return (
            lacking.total() <= left
            and not self.forbidden & counts.keys()
            and all(counts[label] + lacking[label] <= exact[label] for label in exact)
        )

    def holds(self, labels: Sequence[str], centres: Sequence[Place]) -> bool:
        """Return whether a whole list has what is required."""
        whole = self.total is None or self.total == len(labels)
        return whole and self.can_follow(labels, centres, len(labels))


class RequiredNode(NamedTuple):
    """A partial list of items.

    Attributes:
        base: The node of the list without requirements.
        label: The ids of the current item's label so far.
        labels: The labels of the items, the current one included once it is complete.
    """

    base: ItemNode
    label: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()


class RequiredItems:
    """The `PartGrammar` of a list of labelled items that must meet requirements.

    It forbids a token only where no list that has what is required could follow, so it writes the
    same lists as the unrestricted automaton would with all others rejected.

    Args:
        base: The automaton without requirements; its rules are `PlacedRules`.
        required: The requirements.
        label_ids: The ids of each label that may occur; for an open vocabulary those of the labels
            that are required.
        closed: Whether no other label may occur.

    Raises:
        LatentError: If no list meets the requirements.
    """

    def __init__(
        self,
        base: ItemGrammar,
        required: Required,
        label_ids: dict[str, tuple[int, ...]],
        closed: bool,
    ) -> None:
        self._base, self._required, self._closed = base, required, closed
        self._rules: PlacedRules = base.rules  # type: ignore[assignment]
        self._ids = label_ids
        self.longest = base.longest
        if not self._may_add((), ()):
            raise LatentError("requirements", "no z can meet them all.")

    def start(self) -> RequiredNode:
        """See `PartGrammar`."""
        return RequiredNode(self._base.start())

    def options(self, node: RequiredNode) -> np.ndarray:
        """See `PartGrammar`."""
        match node.base.phase:
            case Phase.NUMBERS:
                return self._numbers(node.base.numbers, node)
            case Phase.LABEL:
                return self._in_label(node)
            case Phase.CLOSE:
                ids = [self._base.alphabet.separator] if self._continues(node) else []
                return np.array(ids + [self._base.end] * self.complete(node), dtype=np.int64)

    def follow(self, node: RequiredNode, token_id: int) -> RequiredNode | None:
        """See `PartGrammar`."""
        closing = node.base.phase is Phase.CLOSE
        if token_id not in self.options(node) or (closing and token_id == self._base.end):
            return None
        base = self._base.follow(node.base, token_id)
        if base is None:
            return None
        if node.base.phase is not Phase.LABEL:
            return node._replace(base=base)
        if base.phase is Phase.LABEL:
            return node._replace(base=base, label=(*node.label, token_id))
        return RequiredNode(base, (), (*node.labels, self._name(node.label)))

    def complete(self, node: RequiredNode) -> bool:
        """See `PartGrammar`."""
        if not self._base.complete(node.base):
            return False
        met = self._required.holds(node.labels, self._centres(node.base.items))
        return met or not self._continues(node)  # a label of free text may have led nowhere

    def expected(self, node: RequiredNode) -> str:
        """See `PartGrammar`."""
        return self._base.expected(node.base)

    def _continues(self, node: RequiredNode) -> bool:
        items = node.base.items
        return self._rules.may_continue(items) and self._may_add(
            node.labels, tuple(self._centres(items))
        )

    def _may_add(self, labels: tuple[str, ...], centres: Sequence[Place]) -> bool:
        """Return whether one more item can follow these."""
        if self._closed:
            return any(self._may_be(label, labels, centres) for label in self._ids)
        return self._may_be_another(labels, centres) or any(
            self._may_be(label, labels, centres) for label in self._ids
        )

    def _may_be(self, label: str, labels: Sequence[str], centres: Sequence[Place]) -> bool:
        """Return whether the next item may have this label, wherever it is."""
        return self._fits([*labels, label], centres, None) or any(
            self._fits([*labels, label], centres, region) for region in self._regions(label)
        )

    def _may_be_another(self, labels: Sequence[str], centres: Sequence[Place]) -> bool:
        """Return whether the next item may have a label that nothing is required of."""
        return self._fits([*labels, ""], centres, None)

    def _fits(self, labels: Sequence[str], centres: Sequence[Place], region: Region | None) -> bool:
        """Return whether a list can be completed whose last item lies in a region, or nowhere."""
        return self._required.can_follow(labels, [*centres, region], self._rules.max_items)

    def _regions(self, label: str) -> list[Region]:
        """List the regions in which items of a label are required, and what they have in common."""
        regions = {r or _ANYWHERE for name, r in self._required.needs if name == label}
        found, grown = set(regions), True
        while grown:
            shared = {both for a in found for b in regions if (both := _shared(a, b))} - found
            grown = bool(shared)
            found |= shared
        return sorted(found)

    def _in_label(self, node: RequiredNode) -> np.ndarray:
        centres = self._centres(node.base.items)
        wanted = [name for name in self._ids if self._may_be(name, node.labels, centres)]
        if self._closed or not self._may_be_another(node.labels, centres):
            return self._along(node, wanted)
        legal = self._base.options(node.base)
        if self._base.alphabet.labels.complete(node.base.label):
            name, ids = self._name(node.label), self._base.alphabet.numbers
            barred = name in self._ids and name not in wanted
            barred |= name in self._required.forbidden
            first = self._numbers((), node._replace(labels=(*node.labels, name)))
            legal = np.setdiff1d(legal, ids)
            legal = legal if barred and len(legal) else np.concatenate([legal, first])
        return legal

    def _along(self, node: RequiredNode, names: Sequence[str]) -> np.ndarray:
        """Return the ids that continue the label towards one of some names, or end it there."""
        place, ids = len(node.label), set[int]()
        for name in names:
            written = self._ids[name]
            if written[:place] != node.label:
                continue
            if len(written) > place:
                ids.add(written[place])
            else:
                ids |= set(self._numbers((), node._replace(labels=(*node.labels, name))).tolist())
        return np.array(sorted(ids), dtype=np.int64)

    def _numbers(self, numbers: Numbers, node: RequiredNode) -> np.ndarray:
        """Return the ids of the current item's next number; its label is the last of the node's."""
        items, centres = node.base.items, self._centres(node.base.items)
        low, high = self._rules.bounds(numbers, items)
        legal = self._base.alphabet.numbers[low : high + 1]
        if self._fits(node.labels, centres, None):
            return legal
        allowed = np.zeros(len(legal), dtype=bool)
        for region in self._regions(node.labels[-1]):
            if self._fits(node.labels, centres, region):
                allowed |= self._reaching(numbers, items, region, low, high)
        return legal[allowed]

    def _reaching(
        self, numbers: Numbers, items: Sequence[Numbers], region: Region, low: int, high: int
    ) -> np.ndarray:
        """Mark the next numbers, from low to high, after which the centre can be in a region."""
        values = np.arange(low, high + 1)
        mark = np.ones(len(values), dtype=bool)
        for place in range(len(numbers)):  # what is written already may have left the region
            bounds = self._rules.narrow(numbers[:place], region)
            if bounds is not None and not bounds[0] <= numbers[place] <= bounds[1]:
                return np.zeros(len(values), dtype=bool)
        bounds = self._rules.narrow(numbers, region)
        return mark if bounds is None else (values >= bounds[0]) & (values <= bounds[1])

    def _centres(self, items: Sequence[Numbers]) -> list[Place]:
        return [self._rules.centre(numbers) for numbers in items]

    def _name(self, ids: tuple[int, ...]) -> str:
        text = "".join(self._base.alphabet.texts[token] for token in ids)
        return unescape(" ".join(text.split()))


_ANYWHERE = Region((0, 2000), (0, 2000))


def _shared(a: Region, b: Region) -> Region | None:
    axes = [(max(p[0], q[0]), min(p[1], q[1])) for p, q in zip(a, b, strict=True)]
    return Region(*axes) if all(low <= high for low, high in axes) else None


def _most_pairs(regions: Sequence[Region | None], centres: Sequence[Place]) -> int:
    """Return how many regions can have a centre of their own (augmenting paths)."""
    owner: dict[int, int] = {}

    def place(number: int, seen: set[int]) -> bool:
        for index in _inside(regions[number], centres):
            if index not in seen:
                seen.add(index)
                if index not in owner or place(owner[index], seen):
                    owner[index] = number
                    return True
        return False

    return sum(place(number, set()) for number in range(len(regions)))


def _inside(region: Region | None, centres: Sequence[Place]) -> Iterator[int]:
    return (i for i, place in enumerate(centres) if region is None or region.covers(place))
