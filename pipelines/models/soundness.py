"""How well the kinds of one z agree in the data, which a prior keeps, to judge its own z by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.documents.colour_words import colours_said, words_of
from pipelines.documents.statements import z_contradictions
from pipelines.latents.agreement import agreement
from pipelines.latents.base import Latent
from pipelines.latents.boxes import Boxes
from pipelines.latents.description import Description
from pipelines.latents.palette import Palette

RARE = 0.01
"""Share of a label's objects in the data that overlap less than is asked of a drawn z."""

SLACK = 0.9
"""What is asked of a drawn z, as a share of that overlap: a prior that is a little less exact than
a detector would otherwise have most of its z refused, those of small objects first."""

FEWEST = 50
"""Objects of a label from which its overlap is learned."""

ALWAYS = 0.98
"""Share of the data's z whose description is true of their palette, or of their boxes, above which
a drawn z's must be. In photographs a word of colour often means a small thing, or another shade."""


@dataclass(frozen=True)
class Soundness:
    """What is true of nearly every z of the data.

    Attributes:
        overlaps: Label -> IoU of a box with the rectangle around its blob that all but `RARE` of
            the data's objects reach. It depends on the shape: an ellipse fits a circle, but reaches
            beyond the box of a star.
        colours: Share of the z with a description and a palette in which the palette has every
            colour that the description says; 0 if there are none.
        places: Share of the z with a description and boxes in which the boxes are where the
            description says; 0 if there are none.
    """

    overlaps: Mapping[str, float] = field(default_factory=dict)
    colours: float = 0.0
    places: float = 0.0

    def least(self, label: str, usual: float) -> float:
        """Return the least overlap of an object, given the one that holds for every label."""
        return max(usual, SLACK * self.overlaps.get(label, 0.0))

    def shortfall(
        self, z: Mapping[str, Latent], overlap: float, colours: bool, places: bool
    ) -> float:
        """Return how far the kinds of a z are from agreeing; 0 if they agree.

        Args:
            z: Its latents by kind.
            overlap: Least overlap of a box and its blob, whatever their label; 0 leaves the check
                out, those by label too.
            colours: Whether to look for the described colours in the palette, if the data's z
                nearly always have them (`ALWAYS`).
            places: Whether to compare the described places and sizes with the boxes, if they
                nearly always agree in the data's z.

        Returns:
            The sum of `shortfalls`.
        """
        return sum(self.shortfalls(z, overlap, colours, places).values())

    def shortfalls(
        self, z: Mapping[str, Latent], overlap: float, colours: bool, places: bool
    ) -> dict[str, float]:
        """Return how far each kind is from agreeing with those before it.

        Args:
            z: See `shortfall`.
            overlap: See `shortfall`.
            colours: See `shortfall`.
            places: See `shortfall`.

        Returns:
            By the kinds that were looked at: of blobs the sum of what overlaps lack, of the palette
            1 for each described colour that is missing, of boxes 1 for each statement that they
            contradict.
        """
        lacking: dict[str, float] = {}
        if overlap and (found := agreement(z)) is not None:
            lacking["blobs"] = sum(
                max(0.0, self.least(label, overlap) - each)
                for label, each in zip(found.labels, found.overlaps, strict=True)
            )
        if colours and self.colours >= ALWAYS:
            lacking["palette"] = len(missing_colours(z) or ())
        if places and self.places >= ALWAYS:
            lacking["boxes"] = len(z_contradictions(z))
        return lacking


def missing_colours(z: Mapping[str, Latent]) -> set[str] | None:
    """Return the described colours that the palette lacks; None without either."""
    description, palette = z.get(Description.kind), z.get(Palette.kind)
    if not isinstance(description, Description) or not isinstance(palette, Palette):
        return None
    return colours_said(description.text) - words_of(palette)


NOTHING_LEARNED = Soundness()
"""Of data whose z have too few kinds, or of a prior of an older version."""


class SoundnessSeen:
    """Learns `Soundness` from z of the data."""

    def __init__(self) -> None:
        self._overlaps: defaultdict[str, list[float]] = defaultdict(list)
        self._colours: list[bool] = []
        self._places: list[bool] = []

    def add(self, z: Mapping[str, Latent]) -> None:
        """Look at a z."""
        found = agreement(z)
        if found is not None:
            for label, overlap in zip(found.labels, found.overlaps, strict=True):
                self._overlaps[label].append(overlap)
        if (missing := missing_colours(z)) is not None:
            self._colours.append(not missing)
        if Description.kind in z and Boxes.kind in z:
            self._places.append(not z_contradictions(z))

    def result(self) -> Soundness:
        """Return what was learned, in thousandths."""
        overlaps = {
            label: round(float(np.quantile(values, RARE)), 3)
            for label, values in sorted(self._overlaps.items())
            if len(values) >= FEWEST
        }
        return Soundness(overlaps, _share(self._colours), _share(self._places))


def _share(found: Sequence[bool]) -> float:
    return round(float(np.mean(found or [False])), 3)
