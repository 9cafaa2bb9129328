"""Pictures from z of the data in place of the prior's: what a perfect prior would give."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import cycle, islice

import numpy as np

from pipelines.core.batches import in_batches
from pipelines.evaluate.observe import Observed, Pictures, PictureSource
from pipelines.sample.engine import Run
from pipelines.sample.jobs import DrawGiven
from pipelines.workspace.settings import SampleSettings


def z_of_data(
    real: Observed | None, captions: Sequence[str], place: int, n: int
) -> dict[str, list[str]] | None:
    """Choose n z of each caption's real pictures.

    Args:
        real: Real pictures with z.
        captions: Their captions.
        place: Number of the seed; where real pictures have fewer seeds, the last one's are taken.
        n: How many; where a caption has fewer, they are taken again, for other pictures of each.

    Returns:
        Caption -> n texts; None unless every caption has a z.
    """
    if real is None:
        return None
    chosen = {}
    for caption, by_seed in zip(captions, real.z, strict=True):
        known = [z for z in by_seed[min(place, len(by_seed) - 1)] if z]
        chosen[caption] = list(islice(cycle(known), n))
    return chosen if all(chosen.values()) else None


def given_source(
    model: str, options: SampleSettings, z: Mapping[str, Sequence[str]], run: Run
) -> PictureSource:
    """Draw pictures of given z, with the noise of the same model's own.

    Args:
        model: Name of the bundle.
        options: How it draws; the seed gives way to each repetition's, and z has no noise.
        z: The z of each caption's pictures, ``options.n`` of them.
        run: Draws; the bundle is one of its tools.
    """

    def source(captions: Sequence[str], seed: int) -> Iterator[Pictures]:
        settings = replace(options, seed=seed, z_noise=0.0)
        numbers = tuple(range(options.n))
        drawn = run(
            DrawGiven(model, caption, tuple(z[caption]), settings, numbers) for caption in captions
        )
        for samples in in_batches(drawn, options.n):
            yield [item.z for item in samples], np.stack([item.pixels for item in samples])

    return source


def unlike_diversity(seen: Observed) -> bool:
    """Return whether z repeat among a caption's pictures, so that their diversity tells nothing."""
    return any(len(set(group)) < len(group) for by_seed in seen.z for group in by_seed)


DIVERSITY = ("vendi", "mss")
"""Beginnings of the names of metrics of the diversity of a caption's pictures."""
