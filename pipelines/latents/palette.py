"""Palette: the main colours of an image and their shares of its area.

The paper mentions colour clusters but gives no recipe; this representation is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from pipelines.latents.base import ColourWeight
from pipelines.latents.grammar.items import Numbers
from pipelines.latents.items import ItemList
from pipelines.latents.oklab import hex_to_oklab, oklab_to_hex, oklab_to_srgb
from pipelines.latents.overlays import draw_swatches
from pipelines.latents.text import GRID, LatentError

CHROMA = 0.4
"""OKLab's a and b lie in [-CHROMA, CHROMA]; the sRGB gamut needs about 0.32."""


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
    """Colours by descending weight: ``<L><a><b><weight> <;> ...``; weights sum to exactly 1000."""

    kind = "palette"
    version = 1
    item = Colour
    max_items = 8

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
    def moved(cls, items: Sequence[Colour], share: float, rng: np.random.Generator) -> Self:
        """Return a palette of moved colours; their weights change by factors (log-normal)."""
        weights = whole_weights([each.weight * np.exp(rng.normal(0.0, share)) for each in items])
        old = np.array([(each.lightness, each.a, each.b) for each in items])
        new = (old + np.rint(rng.normal(0.0, share * GRID, old.shape))).clip(0, GRID).astype(int)
        rows = zip(new.tolist(), weights, strict=True)
        return cls.sorted([cls._make_item([*values, weight]) for values, weight in rows])

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

    def readable(self) -> str:
        """Return hexadecimal colours with their shares, ``#faf6ec 70.0 %, ...``."""
        return ", ".join(f"{colour.hex} {colour.weight / 10:.1f} %" for colour in self.items)

    def draw(self, image: np.ndarray) -> np.ndarray:
        """Draw a strip of the colours along the lower edge of an image and return a new array."""
        colours = [(colour.hex, colour.weight / GRID) for colour in self.items]
        return draw_swatches(image, colours)


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
