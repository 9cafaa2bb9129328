"""Colours: the main colours of each element.

A palette says that a picture has red in it; this kind says that the kite is red. Items carry no
place. They follow boxes or blobs in the same order, so the second circle here is the second circle
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.latents.base import NO_COLOUR, ColourWeight, Symbol
from pipelines.latents.grammar.items import Numbers
from pipelines.latents.items import LabelledList
from pipelines.latents.overlays import draw_legend

LEVELS = 255
"""The greatest level of a channel. Levels are those of 8-bit sRGB, so that ``#rrggbb`` in documents
and other formats is exact."""


@dataclass(frozen=True, slots=True)
class ElementColours:
    """The two main colours of one element.

    Attributes:
        label: Name of the object, any non-empty text.
        red: sRGB level of the most frequent colour, 0 to 255.
        green: Likewise.
        blue: Likewise.
        red2: sRGB level of the second colour; equal to the first one in elements of one colour.
        green2: Likewise.
        blue2: Likewise.
    """

    label: str
    red: int
    green: int
    blue: int
    red2: int
    green2: int
    blue2: int

    @classmethod
    def from_hex(cls, label: str, first: str, second: str | None = None) -> ElementColours:
        """Build an item from colours ``#rrggbb``; without a second one it has one colour."""
        return cls(label, *bytes.fromhex(first[1:]), *bytes.fromhex((second or first)[1:]))

    @property
    def hexes(self) -> tuple[str, ...]:
        """Its one or two different colours as ``#RRGGBB``."""
        pair = (
            bytes((self.red, self.green, self.blue)),
            bytes((self.red2, self.green2, self.blue2)),
        )
        return tuple(dict.fromkeys(f"#{levels.hex().upper()}" for levels in pair))


class Colours(LabelledList[ElementColours]):
    """Labels and colours: ``kite <216><52><44><216><52><44> <;> ...``."""

    kind = "colours"
    version = 1
    item = ElementColours
    max_items = 15
    placed_by = ("boxes", "blobs")

    @classmethod
    def bounds(cls, numbers: Numbers, before: Sequence[Numbers]) -> tuple[int, int]:
        """Keep levels within 8 bits."""
        return 0, LEVELS

    @classmethod
    def colour(cls, numbers: Numbers) -> ColourWeight:
        """Return the most frequent colour, scaled like pixels to [-1, 1]."""
        return _scaled(numbers[:3])

    @classmethod
    def token_colours(cls, symbols: Sequence[Symbol]) -> list[ColourWeight]:
        """Return the second colour for its three numbers, and the first for all other tokens."""
        values = super().token_colours(symbols)
        second = cls._by_item(symbols, NO_COLOUR, lambda numbers: _scaled(numbers[3:]))
        place = 0
        for index, symbol in enumerate(symbols):
            place = place + 1 if isinstance(symbol, int) else 0
            if place > 3:
                values[index] = second[index]
        return values

    def readable(self) -> str:
        """Return labels with their hexadecimal colours, ``kite #D8342C; ...``."""
        return "; ".join(f"{item.label} {', '.join(item.hexes)}" for item in self.items)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Draw the labels with their colours, one below the other; return a new array."""
        return draw_legend(image, [(item.label, item.hexes) for item in self.items])


def _scaled(levels: Numbers) -> ColourWeight:
    red, green, blue = (2.0 * level / LEVELS - 1.0 for level in levels)
    return red, green, blue, 1.0
