"""Palette: the main colours of an image and their shares of its area.

The paper mentions colour clusters but gives no recipe; this representation is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from pipelines.latents.base import ColourWeight
from pipelines.latents.grammar.items import Numbers
from pipelines.latents.items import ItemList
from pipelines.latents.oklab import hex_to_oklab, oklab_to_hex, oklab_to_srgb
from pipelines.latents.overlays import draw_swatches
from pipelines.latents.text import GRID, LatentError

CHROMA = 0.4
"""OKLab's a and b lie in [-CHROMA, CHROMA]; the sRGB gamut needs about 0.32."""

NEAR = 0.3
"""The OKLab distance within which a colour in an edit matches one of the palette."""


@dataclass(frozen=True, slots=True)
class Colour:
    """One OKLab colour, quantised to the grid.

    Attributes:
        lightness: L in [0, 1] as 0 (black) to 1000 (white).
        a: a in [-0.4, 0.4] as 0 (green) to 1000 (red).
        b: b in [-0.4, 0.4] as 0 (blue) to 1000 (yellow).
        weight: Share of the image in thousandths, 1 to 1000.
    """

    lightness: int
    a: int
    b: int
    weight: int

    @property
    def oklab(self) -> np.ndarray:
        """The colour as OKLab, float (3,): L, a, b."""
        return np.array(
            [self.lightness / GRID, *(CHROMA * (2 * v / GRID - 1) for v in (self.a, self.b))]
        )

    @property
    def hex(self) -> str:
        """The colour as ``#rrggbb``, clipped to the sRGB gamut."""
        return oklab_to_hex(self.oklab)

    @classmethod
    def from_oklab(cls, lab: np.ndarray, weight: int) -> Colour:
        """Round an OKLab colour, float (3,), to the grid, clipping values outside it."""
        scaled = np.array([lab[0], *((np.asarray(lab[1:]) / CHROMA + 1) / 2)])
        lightness, a, b = np.rint(np.clip(scaled, 0, 1) * GRID).astype(int).tolist()
        return cls(lightness, a, b, weight)

    @classmethod
    def from_hex(cls, colour: str, weight: int) -> Colour:
        """Parse ``#rrggbb``.

        Raises:
            LatentError: If `colour` has another form.
        """
        try:
            return cls.from_oklab(hex_to_oklab(colour), weight)
        except (TypeError, ValueError) as error:
            raise LatentError(
                "palette", f"{colour!r} is not a colour.", "Write one like #ff8000."
            ) from error


class Palette(ItemList[Colour]):
    """Colours by descending weight: ``<L><a><b><weight> <;> ...``; weights sum to exactly 1000.

    Edits name a colour by its index, from 0, or by ``#rrggbb``, which selects the nearest colour of
    the palette. If an edit changes a weight, the other colours are rescaled in proportion.
    """

    kind = "palette"
    version = 1
    item = Colour
    max_items = 8
    changes = {
        "replace": ("with", '{"replace": colour, "with": "#rrggbb"}'),
        "weigh": ("weight", '{"weigh": colour, "weight": thousandths}'),
        "add": ("weight", '{"add": "#rrggbb", "weight": thousandths}'),
        "remove": (None, '{"remove": colour}'),
    }

    @classmethod
    def from_oklab(cls, colours: np.ndarray, weights: Sequence[float] | np.ndarray) -> Self:
        """Build a palette from colour clusters.

        Args:
            colours: OKLab, float (n, 3).
            weights: n positive numbers in any unit, for example pixel counts.
        """
        shares = whole_weights(weights)
        return cls.sorted(
            [Colour.from_oklab(lab, share) for lab, share in zip(colours, shares, strict=True)]
        )

    @classmethod
    def sorted(cls, colours: Sequence[Colour]) -> Self:
        """Build a palette from colours in any order; ties in weight are ordered by value."""
        return cls(tuple(sorted(colours, key=lambda c: (-c.weight, c.lightness, c.a, c.b))))

    @classmethod
    def bounds(cls, numbers: Numbers, before: Sequence[Numbers]) -> tuple[int, int]:
        """Keep weights non-increasing, and a sum of 1000 reachable with the remaining colours.

        With r thousandths left for at most m colours, a weight w leaves r - w to m - 1 colours of
        at most w each, hence w >= r / m.
        """
        if len(numbers) < 3:
            return 0, GRID
        left = GRID - sum(colour[3] for colour in before)
        ceiling = before[-1][3] if before else GRID
        return max(1, -(-left // (cls.max_items - len(before)))), min(left, ceiling)

    @classmethod
    def colour(cls, numbers: Numbers) -> ColourWeight:
        """Return the colour in sRGB, scaled like pixels to [-1, 1], and its weight."""
        colour = cls.item(*numbers)
        red, green, blue = (2.0 * oklab_to_srgb(colour.oklab) - 1.0).tolist()
        return red, green, blue, colour.weight / GRID

    @classmethod
    def may_continue(cls, before: Sequence[Numbers]) -> bool:
        """Return whether the weights sum to less than 1000."""
        return sum(colour[3] for colour in before) < GRID

    @classmethod
    def may_end(cls, before: Sequence[Numbers]) -> bool:
        """Return whether the weights sum to 1000."""
        return not cls.may_continue(before)

    def validate(self) -> None:
        """Raise LatentError unless weights are integers, non-increasing, and sum to 1000."""
        weights = [getattr(colour, "weight", 0) for colour in self.items]
        whole = all(type(weight) is int and weight > 0 for weight in weights)
        if whole and (sum(weights) != GRID or weights != sorted(weights, reverse=True)):
            raise LatentError(
                self.kind, f"the weights {weights} must not increase and must sum to {GRID}."
            )
        super().validate()

    def edit(self, change: Mapping[str, Any]) -> Self:
        """Return a changed copy; `changes` lists the accepted forms.

        Raises:
            LatentError: If the change is unknown, no colour is near the given one, or the result is
                invalid.
        """
        verb, target, argument = self.read_change(change)
        if verb == "add":
            self._check_weight(argument, len(self.items))
            return self._share_out(self.items, Colour.from_hex(target, argument))
        index = self._find(target)
        others = self.items[:index] + self.items[index + 1 :]
        if verb == "replace":
            return self.with_item(index, Colour.from_hex(argument, self.items[index].weight))
        if verb == "remove":
            others = self.without_item(index)
            shares = whole_weights([colour.weight for colour in others])
            return self.sorted(
                [replace(c, weight=share) for c, share in zip(others, shares, strict=True)]
            )
        self._check_weight(argument, len(others))
        return self._share_out(others, replace(self.items[index], weight=argument))

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Draw a strip of the colours along the lower edge of an image and return a new array."""
        colours = [(colour.hex, colour.weight / GRID) for colour in self.items]
        return draw_swatches(image, colours)

    def _find(self, target: Any) -> int:
        if not isinstance(target, str):
            self.item_at(target)
            return int(target)
        wanted = Colour.from_hex(target, 1).oklab
        distances = [float(np.linalg.norm(colour.oklab - wanted)) for colour in self.items]
        index = int(np.argmin(distances))
        if distances[index] > NEAR:
            known = ", ".join(colour.hex for colour in self.items)
            raise self.bad_change(f"no colour is near {target}; the palette has {known}.")
        return index

    def _check_weight(self, weight: Any, others: int) -> None:
        """Raise LatentError unless the weight leaves at least 1 to each other colour."""
        if not others:
            raise self.bad_change("the only colour has all the weight.")
        if type(weight) is not int or not 1 <= weight <= GRID - others:
            raise self.bad_change(f"the weight {weight!r} is not from 1 to {GRID - others}.")

    def _share_out(self, others: Sequence[Colour], fixed: Colour) -> Self:
        shares = whole_weights([colour.weight for colour in others], GRID - fixed.weight)
        shared = [replace(c, weight=share) for c, share in zip(others, shares, strict=True)]
        return self.sorted([*shared, fixed])


def whole_weights(weights: Sequence[float] | np.ndarray, total: int = GRID) -> list[int]:
    """Scale positive weights to integers of at least 1 with an exact sum (largest remainder).

    Args:
        weights: n positive finite numbers, n <= total.
        total: The sum of the integers.

    Raises:
        LatentError: If a weight is not positive and finite, or there are none or too many.
    """
    given = np.asarray(weights, dtype=np.float64)
    if not 0 < given.size <= total or not np.all(np.isfinite(given)) or np.any(given <= 0):
        raise LatentError("palette", f"{given.tolist()} are not 1 to {total} positive weights.")
    target = given / given.max()
    target *= total / target.sum()
    whole = np.maximum(1, np.floor(target)).astype(int)
    while (gap := total - int(whole.sum())) != 0:
        # The smallest shares were raised to 1, so the sum may be too large; the largest share
        # absorbs the difference.
        index = np.argmax(target - whole) if gap > 0 else np.argmax(whole)
        whole[index] += np.sign(gap)
    return [int(share) for share in whole]
