"""All metrics of one source of pictures against the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from pipelines.evaluate.adherence import agrees, box_adherence, parses
from pipelines.evaluate.diversity import mss, vendi
from pipelines.evaluate.fidelity import Moments, frechet_by_caption, membership
from pipelines.evaluate.judge import Verdict
from pipelines.evaluate.modes import FACTORS, matching_share, mode_coverage, mode_entropy
from pipelines.evaluate.observe import Observed
from pipelines.evaluate.statistics import Estimate

Asked = Sequence[Counter[str]]
"""Captioned shapes with their counts, one a caption."""


def measure(seen: Observed, reference: Observed, asked: Asked) -> dict[str, Estimate]:
    """Measure pictures.

    Args:
        seen: The pictures, n of each caption under each seed.
        reference: Real ones, as many.
        asked: What each caption asks for.

    Returns:
        Estimates by metric: ``frechet``, ``precision``, ``recall`` over all pictures together;
        ``edges``, edge energy over that of real pictures of the caption;
        ``vendi`` and ``mss`` of a caption's n samples under one seed; ``caption`` (share of
        pictures that show the captioned objects); ``entropy.FACTOR`` (nats) and
        ``coverage.FACTOR``; and, where the pictures have a z with boxes, ``boxes`` (share found by
        the judge), ``boxes.shuffled`` (against the z of other captions: chance), ``z.parses`` and
        ``z.agrees``.
    """
    values = _set_metrics(seen, reference)
    values["vendi"] = _by_cell(seen, lambda c, s: vendi(seen.features[c, s]))
    if seen.features.shape[2] > 1:
        values["mss"] = _by_cell(seen, lambda c, s: mss(seen.features[c, s]))
    values["edges"] = Estimate.mean_of(seen.edges.mean(2) / reference.edges.mean(2))
    values["caption"] = _by_cell(seen, lambda c, s: matching_share(seen.verdicts[c][s], asked[c]))
    for factor in FACTORS:
        for name, function in (("entropy", mode_entropy), ("coverage", mode_coverage)):
            values[f"{name}.{factor}"] = _mode_metric(seen, asked, factor, function)
    if any("<boxes>" in z for by_seed in seen.z for group in by_seed for z in group):
        values |= _z_metrics(seen, asked)
    return values


def _set_metrics(seen: Observed, reference: Observed) -> dict[str, Estimate]:
    captions, seeds, _, d = seen.features.shape
    moments = [
        [Moments.of(rows.reshape(-1, d)) for rows in each.features] for each in (seen, reference)
    ]
    distance, pseudo = frechet_by_caption(*moments)
    precise, recalled = membership(reference.features.reshape(-1, d), seen.features.reshape(-1, d))
    return {
        "frechet": Estimate(distance, np.repeat(pseudo[:, None], seeds, axis=1)),
        "precision": Estimate.mean_of(precise.reshape(captions, seeds, -1).mean(2)),
        "recall": Estimate.mean_of(recalled.reshape(captions, seeds, -1).mean(2)),
    }


def _mode_metric(
    seen: Observed,
    asked: Asked,
    factor: str,
    function: Callable[[Sequence[Verdict], Counter[str], str], float],
) -> Estimate:
    return _by_cell(seen, lambda c, s: function(seen.verdicts[c][s], asked[c], factor))


def _z_metrics(seen: Observed, asked: Asked) -> dict[str, Estimate]:
    captions = len(asked)

    def adherence(shift: int) -> Estimate:
        return _by_cell(
            seen,
            lambda c, s: (
                box_adherence(seen.z[(c + shift) % captions][s], seen.verdicts[c][s]).share
            ),
        )

    values = {
        "boxes": adherence(0),
        "z.parses": _by_cell(seen, lambda c, s: _share(parses(z) for z in seen.z[c][s])),
        "z.agrees": _by_cell(seen, lambda c, s: _share(agrees(z, asked[c]) for z in seen.z[c][s])),
    }
    if captions > 1:
        values["boxes.shuffled"] = adherence(1)
    return values


def _share(answers: Iterable[bool]) -> float:
    return float(np.mean(list(answers)))


def _by_cell(seen: Observed, function: Callable[[int, int], float]) -> Estimate:
    captions, seeds = seen.features.shape[:2]
    cells = [[function(c, s) for s in range(seeds)] for c in range(captions)]
    return Estimate.mean_of(np.array(cells))
