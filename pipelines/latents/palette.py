"""Palette: an image's main colours and how much of it each covers.

The paper's camera-ready names colour clusters without a recipe, so this form is ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from pipelines.latents.base import GRID, LatentError, Tint
from pipelines.latents.items import ItemList, Numbers
from pipelines.latents.oklab import hex_to_oklab, oklab_to_hex, oklab_to_srgb
from pipelines.latents.overlays import draw_swatches

CHROMA = 0.4
"""OKLab's a and b are kept from -CHROMA to CHROMA; sRGB needs about 0.32."""

NEAR = 0.3
"""OKLab distance within which an edit's colour means one of the palette: dark red is still red."""


@dataclass(frozen=True, slots=True)
class Colour:
    """One colour in OKLab, on the grid.

    Attributes:
        lightness: 0 (black) to 1000 (white) for L from 0 to 1.
        a: 0 to 1000 for a from -0.4 (green) to 0.4 (red).
        b: 0 to 1000 for b from -0.4 (blue) to 0.4 (yellow).
        weight: Share of the image, in thousandths, at least 1.
    """

    lightness: int
    a: int
    b: int
    weight: int

    @property
    def oklab(self) -> np.ndarray:
        """OKLab, float (3,): L, a, b."""
        return np.array(
            [self.lightness / GRID, *(CHROMA * (2 * v / GRID - 1) for v in (self.a, self.b))]
        )

    @property
    def hex(self) -> str:
        """The colour in sRGB as ``#rrggbb``, clipped to what sRGB can show."""
        return oklab_to_hex(self.oklab)

    @classmethod
    def from_oklab(cls, lab: np.ndarray, weight: int) -> Colour:
        """Round OKLab, float (3,), to the grid; values outside it are clipped."""
        scaled = np.array([lab[0], *((np.asarray(lab[1:]) / CHROMA + 1) / 2)])
        lightness, a, b = np.rint(np.clip(scaled, 0, 1) * GRID).astype(int).tolist()
        return cls(lightness, a, b, weight)

    @classmethod
    def from_hex(cls, colour: str, weight: int) -> Colour:
        """Read ``#rrggbb``.

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
    """Colours by falling weight: ``<L><a><b><weight> <;> ...``; weights sum to exactly 1000.

    A colour in an edit is an index (from 0) or ``#rrggbb``, meaning the palette's nearest colour.
    Where an edit takes or gives weight, the other colours share the difference in proportion.
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
        """Make a palette from clusters.

        Args:
            colours: OKLab, float (n, 3).
            weights: n positive numbers in any unit, pixel counts say.
        """
        shares = whole_weights(weights)
        return cls.sorted(
            [Colour.from_oklab(lab, share) for lab, share in zip(colours, shares, strict=True)]
        )

    @classmethod
    def sorted(cls, colours: Sequence[Colour]) -> Self:
        """Make a palette from colours in any order; equal weights are ordered by their values."""
        return cls(tuple(sorted(colours, key=lambda c: (-c.weight, c.lightness, c.a, c.b))))

    @classmethod
    def bounds(cls, numbers: Numbers, before: Sequence[Numbers]) -> tuple[int, int]:
        """Keep weights falling, and the sum 1000 within reach of the colours still allowed.

        With r thousandths left for at most m colours the weight w must leave r - w to m - 1
        colours of at most w each, hence w >= r / m.
        """
        if len(numbers) < 3:
            return 0, GRID
        left = GRID - sum(colour[3] for colour in before)
        ceiling = before[-1][3] if before else GRID
        return max(1, -(-left // (cls.max_items - len(before)))), min(left, ceiling)

    @classmethod
    def tint(cls, numbers: Numbers) -> Tint:
        """The colour as the pictures have it, in sRGB, and its weight."""
        colour = cls.item(*numbers)
        red, green, blue = (2.0 * oklab_to_srgb(colour.oklab) - 1.0).tolist()
        return red, green, blue, colour.weight / GRID

    @classmethod
    def may_continue(cls, before: Sequence[Numbers]) -> bool:
        """Whether weight is left to give."""
        return sum(colour[3] for colour in before) < GRID

    @classmethod
    def may_end(cls, before: Sequence[Numbers]) -> bool:
        """Whether all weight is given."""
        return not cls.may_continue(before)

    def validate(self) -> None:
        """Raise LatentError unless weights are whole, fall, and sum to exactly 1000."""
        weights = [getattr(colour, "weight", 0) for colour in self.items]
        whole = all(type(weight) is int and weight > 0 for weight in weights)
        if whole and (sum(weights) != GRID or weights != sorted(weights, reverse=True)):
            raise LatentError(
                self.kind, f"the weights {weights} must fall and sum to exactly {GRID}."
            )
        super().validate()

    def edit(self, change: Mapping[str, Any]) -> Self:
        """Return a changed copy; `changes` lists the forms.

        Raises:
            LatentError: If the change is unknown, no colour is near the one named, or the result
                is not valid.
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
        """Draw the colours along the lower edge, as wide as their weights; a new array."""
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
        """Raise LatentError unless each of the other colours can keep at least 1."""
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
        total: What the integers sum to.

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
        # A share that was raised to 1 has no remainder and is never raised again; the largest
        # pays for it.
        index = np.argmax(target - whole) if gap > 0 else np.argmax(whole)
        whole[index] += np.sign(gap)
    return [int(share) for share in whole]
