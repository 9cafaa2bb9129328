"""Whether the kinds of one z agree with each other: boxes with blobs, words with colours.

A prior writes one kind after the other; what it contradicts later, the denoiser has never seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from pipelines.documents.colour_words import colours_said, words_of
from pipelines.evaluate.adherence.z_text import read_z
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Observed
from pipelines.latents.agreement import agreement
from pipelines.latents.base import Latent
from pipelines.latents.blobs import Blobs
from pipelines.latents.boxes import Boxes
from pipelines.latents.description import Description
from pipelines.latents.items import first_mention
from pipelines.latents.matching import IOU
from pipelines.latents.palette import Palette

NAMES = ("iou", "apart", "centre", "count", "labels", "colours")


def self_agreement(seen: Observed) -> dict[str, Estimate]:
    """Measure how the kinds of each z agree, averaged over captions and seeds.

    Args:
        seen: Pictures with z.

    Returns:
        For a z with boxes and blobs ``z.self.iou`` (mean IoU of a box with the rectangle around
        its blob, 0 without a partner), ``z.self.apart`` (share below 0.5), ``z.self.centre``
        (mean distance of the centres of pairs, in thousandths of the side) and ``z.self.count``
        (share of z with the same labels in the same numbers). For a z with a description
        ``z.self.labels`` (share of the different labels of boxes, or else blobs, that it names)
        and, with a palette too, ``z.self.colours`` (share of the words of colour in it that the
        palette has a colour for). A metric is left out where no z has its kinds.
    """
    found = [[[_of(z) for z in group] for group in by_seed] for by_seed in seen.z]

    def mean(name: str, c: int, s: int) -> float:
        values = [value for of_z in found[c][s] for value in of_z.get(name, ())]
        return float(np.mean(values)) if values else float("nan")

    estimates = {
        f"z.self.{name}": seen.by_group(lambda c, s, name=name: mean(name, c, s))  # type: ignore[misc]
        for name in NAMES
    }
    return {name: value for name, value in estimates.items() if np.isfinite(value.value)}


def _of(text: str) -> Mapping[str, Sequence[float]]:
    """Return the values of one z by name: one an object, a word, or the whole z."""
    z = read_z(text) or {}
    return _of_boxes_and_blobs(z) | _of_words(z)


def _of_boxes_and_blobs(z: Mapping[str, Latent]) -> dict[str, Sequence[float]]:
    found = agreement(z)
    if found is None:
        return {}
    return {
        "iou": found.overlaps,
        "apart": [overlap < IOU for overlap in found.overlaps],
        "centre": found.distances,
        "count": [Counter(_labels(z["boxes"])) == Counter(_labels(z["blobs"]))],
    }


def _of_words(z: Mapping[str, Latent]) -> dict[str, Sequence[float]]:
    description, palette = z.get(Description.kind), z.get(Palette.kind)
    if not isinstance(description, Description):
        return {}
    text = description.text
    labels = set(_labels(z.get("boxes")) or _labels(z.get("blobs")))
    values: dict[str, Sequence[float]] = {
        "labels": [first_mention(label, text) < len(text) for label in sorted(labels)]
    }
    if isinstance(palette, Palette):
        known = words_of(palette)
        values["colours"] = [word in known for word in sorted(colours_said(text))]
    return values


def _labels(latent: Latent | None) -> list[str]:
    known = isinstance(latent, Boxes | Blobs)
    return [item.label for item in latent.items] if known else []  # type: ignore[union-attr]
