"""Latents that are lists of items: an optional label plus a fixed number of grid integers.

A kind declares its item, the bounds of each number and how it is drawn. `validate` and the decoding
grammar both read those bounds, so a drawn z is valid exactly when one made by hand would be.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

from pipelines.latents.base import (
    NO_TINT,
    SEPARATOR,
    Latent,
    LatentError,
    Place,
    Tint,
    Word,
    escape,
    number,
    unescape,
)
from pipelines.latents.grammar.items import ItemGrammar

if TYPE_CHECKING:
    from pipelines.latents.grammar.alphabet import Alphabet

Numbers = tuple[int, ...]
ItemT = TypeVar("ItemT")
ValueT = TypeVar("ValueT")

_ITEM = re.compile(
    r"(?P<label>[^<>();]*?) ?(?:(?P<tokens><[0-9]{1,4}>(?: ?<[0-9]{1,4}>)*)"
    r"|\((?P<typed>[0-9]{1,9}(?: ?, ?[0-9]{1,9})*)\))"
)


@dataclass(frozen=True)
class ItemList(Latent, Generic[ItemT]):
    """A non-empty list of items. Constructing one validates it.

    An image in which an extractor finds nothing is Filtered by the stage; it has no empty latent.

    Attributes:
        items: From 1 to `max_items` items.

    Class attributes:
        item: The item's frozen dataclass: ``label: str`` first if it has one, then integers.
        max_items: Most items that a latent of this kind holds.
        labelled: Whether an item has a label (derived from `item`).
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
        """Derive the item's layout from its dataclass."""
        super().__init_subclass__(**kwargs)
        if "item" in cls.__dict__:
            names = tuple(field.name for field in fields(cls.item))
            cls.labelled = names[0] == "label"
            cls.number_names = names[1:] if cls.labelled else names

    def __post_init__(self) -> None:
        """Take any sequence of items and validate it."""
        object.__setattr__(self, "items", tuple(self.items))
        self.validate()

    @classmethod
    @abstractmethod
    def bounds(cls, numbers: Numbers, before: Sequence[Numbers]) -> tuple[int, int]:
        """Return the least and greatest value of an item's next number.

        Args:
            numbers: The item's numbers so far, each within its own bounds.
            before: The numbers of the items before it.
        """

    @classmethod
    def may_continue(cls, before: Sequence[Numbers]) -> bool:
        """Whether another item may follow these."""
        return len(before) < cls.max_items

    @classmethod
    def may_end(cls, before: Sequence[Numbers]) -> bool:
        """Whether the list may end after these."""
        return len(before) > 0

    @classmethod
    def place(cls, numbers: Numbers) -> Place | None:
        """Rectangle that an item lies in; None for a kind without, as a palette."""
        return None

    @classmethod
    def tint(cls, numbers: Numbers) -> Tint:
        """Colour that an item speaks of; `NO_TINT` for a kind without, as boxes."""
        return NO_TINT

    @classmethod
    def places(cls, words: Sequence[Word]) -> list[Place | None]:
        """The place of each token's item, of its label and its numbers alike."""
        return cls._by_item(words, None, cls.place)

    @classmethod
    def tints(cls, words: Sequence[Word]) -> list[Tint]:
        """The colour of each token's item."""
        return cls._by_item(words, NO_TINT, cls.tint)

    @classmethod
    def _by_item(
        cls, words: Sequence[Word], nothing: ValueT, of_item: Callable[[Numbers], ValueT]
    ) -> list[ValueT]:
        """Give every token of an item what its numbers say, and `nothing` to the others."""
        values, start = [nothing] * len(words), 0
        for index, word in enumerate([*words, SEPARATOR]):
            if word != SEPARATOR:
                continue
            numbers = tuple(word for word in words[start:index] if isinstance(word, int))
            if len(numbers) == len(cls.number_names):
                values[start:index] = [of_item(numbers)] * (index - start)
            start = index + 1
        return values

    @classmethod
    def grammar(cls, alphabet: Alphabet, end: int) -> ItemGrammar:
        """Items with separators between them, each a label and then its numbers."""
        return ItemGrammar(cls, alphabet, end)

    def numbers(self) -> tuple[Numbers, ...]:
        """Return each item's numbers, without labels."""
        return tuple(self._numbers_of(item) for item in self.items)

    def validate(self) -> None:
        """Raise LatentError, naming item and field, unless every number is within its bounds."""
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
        """Write ``label <n><n>... <;> label <n><n>...``, labels escaped."""
        parts = []
        for item in self.items:
            label = escape(getattr(item, "label", ""))
            numbers = "".join(number(value) for value in self._numbers_of(item))
            parts.append(f"{label} {numbers}".strip())
        return f" {SEPARATOR} ".join(parts)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read `to_text`'s form, or what a person would type: ``circle (120, 330, 410, 620); ...``.

        In a typed label ``<>();`` must be percent-encoded; ``%41`` reads as ``A``.

        Raises:
            LatentError: If an item cannot be read or breaks the kind's rules.
        """
        parts = " ".join(text.split()).replace(SEPARATOR, ";").split(";")
        return cls(tuple(cls._parse_item(part.strip()) for part in parts))

    def to_bytes(self) -> bytes:
        """Encode as JSON: kind, version and the items as arrays."""
        rows = [[getattr(item, field.name) for field in fields(self.item)] for item in self.items]
        return self.pack(items=rows)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Decode `to_bytes`.

        Raises:
            LatentError: If the bytes are not of this kind and version, or break its rules.
        """
        (rows,) = cls.unpack(data, "items")
        if not isinstance(rows, list):
            raise LatentError(cls.kind, "its items are not a list.")
        return cls(tuple(cls._make_item(row) for row in rows))

    def item_at(self, index: Any) -> ItemT:
        """Return the item at `index`, or raise LatentError naming the valid indices."""
        if type(index) is not int or not 0 <= index < len(self.items):
            raise self.bad_change(f"there is no item {index!r}; items are 0 to {self._last}.")
        return self.items[index]

    def with_item(self, index: int, item: ItemT) -> Self:
        """Return a copy in which `item` takes the place at `index`."""
        return replace(self, items=(*self.items[:index], item, *self.items[index + 1 :]))

    def without_item(self, index: int) -> tuple[ItemT, ...]:
        """Return the items but the one at `index`, or raise LatentError if none would be left."""
        self.item_at(index)
        if len(self.items) == 1:
            raise self.bad_change("the only item cannot be removed.")
        return self.items[:index] + self.items[index + 1 :]

    @property
    def _last(self) -> int:
        return len(self.items) - 1

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
            raise LatentError(cls.kind, f"{part[:80]!r} cannot be read.", f"Write {form}; ...")
        numbers = [int(n) for n in re.findall("[0-9]+", match["tokens"] or match["typed"])]
        if len(numbers) != len(cls.number_names):
            raise LatentError(cls.kind, f"{part[:80]!r} has wrong numbers.", f"Write {form}; ...")
        if not cls.labelled and match["label"]:
            raise LatentError(cls.kind, f"{part[:80]!r} has a label.", f"Write {form}; ...")
        label = [_parse_label(cls.kind, match["label"])] if cls.labelled else []
        return cls._make_item([*label, *numbers])


@dataclass(frozen=True)
class LabelledList(ItemList[ItemT]):
    """An `ItemList` of labelled things in the picture, edited one item at a time.

    Items offer ``moved(dx, dy)``; the other verbs of a kind's own are in `edit_item`.
    """

    def edit(self, change: Mapping[str, Any]) -> Self:
        """Return a changed copy; `changes` lists the forms, an index counts from 0.

        Raises:
            LatentError: If the change is unknown, or what it makes is not valid.
        """
        verb, target, argument = self.read_change(change)
        if verb == "add":
            numbers = self.integers(argument, len(self.number_names))
            return replace(self, items=(*self.items, self.item(target, *numbers)))
        item: Any = self.item_at(target)
        if verb == "remove":
            return replace(self, items=self.without_item(target))
        if verb == "relabel":
            return self.with_item(target, replace(item, label=argument))
        if verb == "move":
            return self.with_item(target, item.moved(*self.integers(argument, 2)))
        return self.with_item(target, self.edit_item(verb, item, argument))

    @abstractmethod
    def edit_item(self, verb: str, item: ItemT, argument: Any) -> ItemT:
        """Apply a verb of the kind's own to one item."""


def check_label(what: str, label: Any) -> None:
    """Raise LatentError unless the label is a non-empty string that UTF-8 can write."""
    if not isinstance(label, str) or not label:
        raise LatentError(what, f"the label {label!r} is not a non-empty string.")
    try:
        label.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LatentError(what, f"the label {label!r} holds half a surrogate pair.") from error


def _parse_label(kind: str, text: str) -> str:
    try:
        return unescape(text)
    except UnicodeDecodeError as error:
        raise LatentError(kind, f"the label {text[:80]!r} is not percent-encoded UTF-8.") from error
