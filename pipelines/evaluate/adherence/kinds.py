"""Measure whether pictures follow z, for each kind of latent, with controls that need no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pipelines.evaluate.adherence.blobs import blob_adherence
from pipelines.evaluate.adherence.boxes import box_adherence
from pipelines.evaluate.adherence.tokens import token_adherence
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observations import Verdict
from pipelines.evaluate.observe import Observed

Score = Callable[[Sequence[str], int, int], dict[str, float]]
"""(z of each picture, caption index, seed index) -> metrics of a kind by name."""

JudgedScore = Callable[[Sequence[str], Sequence[Verdict]], dict[str, float]]
"""(z of each picture, its verdict) -> metrics of a kind by name; one is named like the kind."""

JUDGED: Mapping[str, JudgedScore] = {"boxes": box_adherence, "blobs": blob_adherence}
"""Kinds that every judge of objects can check."""


def adherence(
    seen: Observed, judged: Mapping[str, JudgedScore] | None = None
) -> dict[str, Estimate]:
    """Measure whether pictures follow their z.

    Args:
        seen: The pictures.
        judged: Scorers of further kinds that only this judge can check, by kind.

    Returns:
        For each kind of z that can be checked: a metric named like the kind, its parts as
        ``KIND.PART`` (see `box_adherence` and the others), and two controls, which score pictures
        against the z of another picture. ``KIND.resampled`` uses the next sample of the same
        caption: the score of a model that follows only the caption. ``KIND.shuffled`` uses the
        next caption: the score by chance. For palettes and colours see `_from_pixels`. The scores
        of real pictures against their true z are the ceilings.
    """

    def by_verdict(score: JudgedScore) -> Score:
        return lambda texts, c, s: score(texts, seen.verdicts[c][s])

    def by_tokens(texts: Sequence[str], c: int, s: int) -> dict[str, float]:
        return token_adherence(texts, seen.ids[c, s])

    values = _from_pixels(seen)
    if seen.verdicts[0][0]:
        for kind, score in {**JUDGED, **(judged or {})}.items():
            values |= _with_controls(seen, kind, by_verdict(score))
    return values | _with_controls(seen, "tokens", by_tokens)


def _with_controls(seen: Observed, kind: str, score: Score) -> dict[str, Estimate]:
    """Compute the metrics of one kind; none if no z has the kind."""
    values = _tables(seen, score)
    if not np.isfinite(values[kind].value):
        return {}
    captions, _, n = seen.features.shape[:3]
    if n > 1:
        values[f"{kind}.resampled"] = _tables(seen, score, samples_on=1)[kind]
    if captions > 1:
        values[f"{kind}.shuffled"] = _tables(seen, score, captions_on=1)[kind]
    return values


def _tables(
    seen: Observed, score: Score, captions_on: int = 0, samples_on: int = 0
) -> dict[str, Estimate]:
    """Score each group against its z, or against the z of a later caption or sample."""
    captions, seeds = seen.features.shape[:2]

    def of(c: int, s: int) -> dict[str, float]:
        group = seen.z[(c + captions_on) % captions][s]
        return score([*group[samples_on:], *group[:samples_on]], c, s)

    groups = [[of(c, s) for s in range(seeds)] for c in range(captions)]
    tables = {n: np.array([[g[n] for g in by_seed] for by_seed in groups]) for n in groups[0][0]}
    return {name: Estimate.mean_of(table) for name, table in tables.items()}


def _from_pixels(seen: Observed) -> dict[str, Estimate]:
    """Measure whether pictures have z's palette, and elements their colours, if z has them.

    Returns:
        ``palette`` (mean OKLab distance from a pixel to the nearest colour), ``palette.shares``
        (total variation between weights and pixel shares), ``colours`` (see `colour_fit`), and two
        controls for each: ``palette.resampled`` uses the palette of the caption's next sample,
        ``palette.shuffled`` that of the previous caption and so excludes the first caption.
    """
    controls = ("", ".resampled", ".shuffled")
    palettes = [f"palette{part}{each}" for each in controls for part in ("", ".shares")]
    columns = {name: seen.colours[..., index] for index, name in enumerate(palettes)}
    columns |= {f"colours{each}": seen.tints[..., i] for i, each in enumerate(controls)}
    tables = {name: seen.by_group(_mean_where_known(values)) for name, values in columns.items()}
    return {name: table for name, table in tables.items() if np.isfinite(table.value)}


def _mean_where_known(values: np.ndarray) -> Callable[[int, int], float]:
    def mean(c: int, s: int) -> float:
        known = values[c, s][np.isfinite(values[c, s])]
        return float(known.mean()) if known.size else float("nan")

    return mean
