"""Latents that are lists of items: an optional label and a fixed number of grid integers.

A kind declares its item, the bounds of each number and how to draw it. `validate` and the grammar
use the same bounds, so sampled and hand-written z obey the same rules.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from pipelines.latents.base import NO_COLOUR, ColourWeight, Latent, Rect, Symbol
from pipelines.latents.grammar.items import ItemGrammar, Numbers
from pipelines.latents.text import SEPARATOR, LatentError, check_label, escape, number, unescape

if TYPE_CHECKING:
    import numpy as np

    from pipelines.latents.grammar.alphabet import Alphabet

ItemT = TypeVar("ItemT")
ValueT = TypeVar("ValueT")

MOST_LABELS = 1000
"""Labels that a shard's statistics list. So many are free text, of which only lengths matter."""

_ITEM = re.compile(
    r"(?P<label>[^<>();]*?) ?(?:(?P<tokens><[0-9]{1,4}>(?: ?<[0-9]{1,4}>)*)"
    r"|\((?P<typed>[0-9]{1,9}(?: ?, ?[0-9]{1,9})*)\))"
)


@dataclass(frozen=True)
class ItemList(Latent, Generic[ItemT]):
    """A non-empty list of items, validated on construction.

    There are no empty latents: a stage reports an image without findings as Filtered.

    Attributes:
        items: 1 to `max_items` items.

    Class attributes:
        item: The frozen dataclass of an item: ``label: str`` first if it has one, then integers.
        max_items: The largest number of items.
        labelled: Whether items have a label (derived from `item`).
        number_names: Names of an item's numbers, in the order of the text (derived from `item`).

    Raises:
        LatentError: If an item breaks the kind's rules.
    """

    items: tuple[ItemT, ...]

    item: ClassVar[type[Any]]
    max_items: ClassVar[int]
    labelled: ClassVar[bool]
    number_names: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Derive `labelled` and `number_names` from the item's dataclass."""
        super().__init_subclass__(**kwargs)
        if "item" in cls.__dict__:
            names = tuple(field.name for field in fields(cls.item))
            cls.labelled = names[0] == "label"
            cls.number_names = names[1:] if cls.labelled else names

    def __post_init__(self) -> None:
        """Store the items as a tuple and validate them."""
        object.__setattr__(self, "items", tuple(self.items))
        self.validate()

    @classmethod
    @abstractmethod
    def bounds(cls, numbers: Numbers, before: Sequence[Numbers]) -> tuple[int, int]:
        """Return the least and the greatest value of an item's next number.

        Args:
            numbers: The item's numbers so far, each within its own bounds.
            before: The numbers of the preceding items.
        """

    @classmethod
    def may_continue(cls, before: Sequence[Numbers]) -> bool:
        """Return whether another item may follow these."""
        return len(before) < cls.max_items

    @classmethod
    def may_end(cls, before: Sequence[Numbers]) -> bool:
        """Return whether the list may end after these."""
        return len(before) > 0

    @classmethod
    def rect(cls, numbers: Numbers) -> Rect | None:
        """Return the region that an item covers; None for kinds without one, such as palettes."""
        return None

    @classmethod
    def colour(cls, numbers: Numbers) -> ColourWeight:
        """Return the colour of an item; `NO_COLOUR` for kinds without one, such as boxes."""
        return NO_COLOUR

    @classmethod
    def crop_item(cls, item: ItemT, region: Rect) -> ItemT | None:
        """Return an item as it is in a part of the picture, or None if too little of it remains."""
        return item

    def visible(self, region: Rect) -> list[int]:
        """Return the numbers of the items that remain in a part of the picture."""
        return [n for n, item in enumerate(self.items) if self.crop_item(item, region) is not None]

    def only(self, numbers: Sequence[int]) -> Self | None:
        """Return a list of some of the items, by their numbers; None if there are none."""
        return type(self)(tuple(self.items[number] for number in numbers)) if numbers else None

    def crop(self, region: Rect) -> Self | None:
        """Return the items that remain in a part of the picture, see `Latent.crop`."""
        moved = [self.crop_item(item, region) for item in self.items]
        kept = tuple(item for item in moved if item is not None)
        return type(self)(kept) if kept else None

    @classmethod
    def moved(cls, items: Sequence[ItemT], share: float, rng: np.random.Generator) -> Self:
        """Return a list of items whose numbers are moved, within their bounds.

        Args:
            items: The items.
            share: Standard deviation of a number, as a share of its greatest value.
            rng: Source of randomness.

        Raises:
            LatentError: If the items cannot be a list.
        """
        before: list[Numbers] = []
        for item in items:
            numbers: Numbers = ()
            for value in cls._numbers_of(item):
                low, high = cls.bounds(numbers, before)
                numbers += (min(max(value + round(rng.normal(0.0, share * high)), low), high),)
            before.append(numbers)
        labels = [[getattr(item, "label", "")] if cls.labelled else [] for item in items]
        rows = zip(labels, before, strict=True)
        return cls(tuple(cls._make_item([*label, *numbers]) for label, numbers in rows))

    @classmethod
    def token_rects(cls, symbols: Sequence[Symbol]) -> list[Rect | None]:
        """Return the region of each token's item, for labels and numbers alike."""
        return cls._by_item(symbols, None, cls.rect)

    @classmethod
    def token_colours(cls, symbols: Sequence[Symbol]) -> list[ColourWeight]:
        """Return the colour of each token's item."""
        return cls._by_item(symbols, NO_COLOUR, cls.colour)

    @classmethod
    def _by_item(
        cls, symbols: Sequence[Symbol], nothing: ValueT, read: Callable[[Numbers], ValueT]
    ) -> list[ValueT]:
        """Give every token of a complete item the value of its numbers, and `nothing` to others."""
        values, start = [nothing] * len(symbols), 0
        for index, symbol in enumerate([*symbols, SEPARATOR]):
            if symbol != SEPARATOR:
                continue
            numbers = tuple(symbol for symbol in symbols[start:index] if isinstance(symbol, int))
            if len(numbers) == len(cls.number_names):
                values[start:index] = [read(numbers)] * (index - start)
            start = index + 1
        return values

    @classmethod
    def grammar(cls, alphabet: Alphabet, end: int) -> ItemGrammar:
        """Return the automaton of labels, numbers within `bounds`, and separators."""
        return ItemGrammar(cls, alphabet, end)

    def validate(self) -> None:
        """Raise LatentError, naming item and field, if a number is out of its bounds."""
        if not 1 <= len(self.items) <= self.max_items:
            raise LatentError(
                self.kind, f"it has {len(self.items)} items; 1 to {self.max_items} are allowed."
            )
        before: list[Numbers] = []
        for index, item in enumerate(self.items):
            if type(item) is not self.item:
                raise LatentError(self.kind, f"item {index} is not a {self.item.__name__}.")
            if self.labelled:
                check_label(f"{self.kind} item {index}", getattr(item, "label", None))
            before.append(self._check_numbers(index, item, before))

    def to_text(self) -> str:
        """Return ``label <n><n>... <;> label <n><n>...`` with escaped labels."""
        parts = []
        for item in self.items:
            label = escape(getattr(item, "label", ""))
            numbers = "".join(number(value) for value in self._numbers_of(item))
            parts.append(f"{label} {numbers}".strip())
        return f" {SEPARATOR} ".join(parts)

    def readable(self) -> str:
        """Return the typed form, ``circle (120, 330, 410, 620); ...``, with labels as they are."""
        return "; ".join(
            f"{getattr(item, 'label', '')} ({', '.join(map(str, self._numbers_of(item)))})".strip()
            for item in self.items
        )

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse `to_text`'s form or the typed form ``circle (120, 330, 410, 620); ...``.

        Typed labels must percent-encode ``<>();``; ``%41`` is read as ``A``.

        Raises:
            LatentError: If an item cannot be parsed or breaks the kind's rules.
        """
        parts = " ".join(text.split()).replace(SEPARATOR, ";").split(";")
        return cls(tuple(cls._parse_item(part.strip()) for part in parts))

    def to_bytes(self) -> bytes:
        """Serialise to JSON: kind, version and the items as arrays."""
        rows = [[getattr(item, field.name) for field in fields(self.item)] for item in self.items]
        return self.pack(items=rows)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Parse the output of `to_bytes`.

        Raises:
            LatentError: If the bytes are of another kind or version, or break the kind's rules.
        """
        (rows,) = cls.unpack(data, "items")
        if not isinstance(rows, list):
            raise LatentError(cls.kind, "its items are not a list.")
        return cls(tuple(cls._make_item(row) for row in rows))

    @classmethod
    def _numbers_of(cls, item: Any) -> Numbers:
        return tuple(getattr(item, name) for name in cls.number_names)

    def _check_numbers(self, index: int, item: Any, before: Sequence[Numbers]) -> Numbers:
        numbers: Numbers = ()
        for name, value in zip(self.number_names, self._numbers_of(item), strict=True):
            low, high = self.bounds(numbers, before)
            if type(value) is not int or not low <= value <= high:
                raise LatentError(
                    self.kind,
                    f"item {index}: {name} is {value!r}; it must be an integer "
                    f"from {low} to {high}.",
                )
            numbers += (value,)
        return numbers

    @classmethod
    def _make_item(cls, values: Any) -> ItemT:
        count = len(fields(cls.item))
        if not isinstance(values, list) or len(values) != count:
            raise LatentError(cls.kind, f"an item is not a list of {count} values.")
        made: ItemT = cls.item(*values)
        return made

    @classmethod
    def _parse_item(cls, part: str) -> ItemT:
        form = f"{'label ' if cls.labelled else ''}({', '.join(cls.number_names)})"
        match = _ITEM.fullmatch(part)
        if match is None:
            raise LatentError(cls.kind, f"{part[:80]!r} cannot be parsed.", f"Write {form}; ...")
        numbers = [int(n) for n in re.findall("[0-9]+", match["tokens"] or match["typed"])]
        if len(numbers) != len(cls.number_names):
            raise LatentError(
                cls.kind, f"{part[:80]!r} has {len(numbers)} numbers.", f"Write {form}; ..."
            )
        if not cls.labelled and match["label"]:
            raise LatentError(cls.kind, f"{part[:80]!r} has a label.", f"Write {form}; ...")
        label = [_parse_label(cls.kind, match["label"])] if cls.labelled else []
        return cls._make_item([*label, *numbers])


@dataclass(frozen=True)
class LabelledList(ItemList[ItemT]):
    """An `ItemList` of labelled objects."""

    @classmethod
    def statistics(cls, latents: Sequence[Self]) -> dict[str, list[Any]]:
        """Return the ``labels`` of a shard; of more than `MOST_LABELS` the longest ones."""
        labels = {item.label for latent in latents for item in latent.items}  # type: ignore[attr-defined]
        longest = sorted(labels, key=lambda label: (-len(label), label))[:MOST_LABELS]
        return {"labels": sorted(longest)}


def first_mention(label: str, caption: str) -> int:
    """Return where a caption first names a label, singular or plural; its length if nowhere."""
    match = re.search(rf"\b{re.escape(label)}(?:s|es)?\b", caption, re.IGNORECASE)
    return match.start() if match else len(caption)


def _parse_label(kind: str, text: str) -> str:
    try:
        return unescape(text)
    except UnicodeDecodeError as error:
        raise LatentError(kind, f"the label {text[:80]!r} is not percent-encoded UTF-8.") from error
