"""All metrics of one source of pictures against the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from pipelines.evaluate.adherence import agrees, box_adherence, parses, same_count, same_shapes
from pipelines.evaluate.diversity import mss, unit, vendi
from pipelines.evaluate.fidelity import (
    Moments,
    density_and_coverage,
    frechet_by_caption,
    membership,
)
from pipelines.evaluate.judge import Verdict
from pipelines.evaluate.kernels import clip_gaussian, mmd_across_captions, mmd_by_caption
from pipelines.evaluate.modes import FACTORS, matches, mode_coverage, mode_entropy
from pipelines.evaluate.observe import Observed
from pipelines.evaluate.statistics import Estimate, combine
from pipelines.evaluate.text import distinct, loops, repetition, self_bleu, words, zipf

Asked = Sequence[Counter[str]]
"""Captioned shapes with their counts, one a caption."""

DIVERSITY: dict[str, Callable[[np.ndarray], float]] = {
    "vendi": vendi,
    "vendi.infinity": partial(vendi, order=np.inf),
    "mss": mss,
}
"""Metric -> score of one caption's features (n, d)."""

LEAST_VALID = 2
"""A similarity needs two pictures: groups with fewer valid ones are skipped, and counted."""


def measure(
    seen: Observed, reference: Observed, asked: Asked, ceiling: float
) -> dict[str, Estimate]:
    """Measure pictures.

    Args:
        seen: The pictures, n of each caption under each seed, n of 2 or more.
        reference: Real ones, as many.
        asked: What each caption asks for.
        ceiling: Share of real boxes that the judge finds with the right shape, above 0.

    Returns:
        Estimates by metric. Over all pictures together: ``frechet``, ``mmd``, ``precision``,
        ``recall``, ``density``, ``coverage.real``. Over the n pictures of a caption under one
        seed: ``vendi``, ``vendi.infinity``, ``mss``, ``edges`` (edge energy
        over that of real pictures of the caption) and ``caption`` (share that shows exactly the
        captioned objects: the valid ones). Over the valid ones among them: ``vendi.valid`` and
        the like, ``entropy.FACTOR`` (nats) and ``coverage.FACTOR``; these say how many
        pictures they used and skip groups with too few. Of z, where there is one: see
        `_z_metrics` and `_palette_metrics`.
    """
    valid = np.array(
        [
            [[matches(v, a) for v in group] for group in by_seed]
            for by_seed, a in zip(seen.verdicts, asked, strict=True)
        ]
    )
    values = _set_metrics(seen, reference)
    values["edges"] = _edges(seen, reference)
    values["caption"] = Estimate.mean_of(valid.mean(2))
    for name, score in DIVERSITY.items():
        values |= _diversity(seen, valid, name, score)
    for factor in FACTORS:
        for name, function in (("entropy", mode_entropy), ("coverage", mode_coverage)):
            values[f"{name}.{factor}"] = _mode_metric(seen, valid, asked, factor, function)
    values |= _text_metrics(seen)
    if any("<boxes>" in z for z in _texts(seen)):
        values |= _z_metrics(seen, asked, ceiling)
    return values | _palette_metrics(seen)


def feature_distances(
    seen: Observed, reference: Observed, texts: np.ndarray | None = None
) -> dict[str, Estimate]:
    """Compare pictures that nothing judges with real ones, over all captions.

    Args:
        seen: The pictures, n of each caption under each seed.
        reference: Real ones: m of each caption, m no more than n, under one seed.
        texts: Features of the captions in the same space, (captions, d), if there are any.

    Returns:
        Estimates by metric. ``frechet`` and ``mmd`` (and ``cmmd`` with texts) compare all pictures
        with the real ones; ``precision``, ``recall``, ``density`` and ``coverage.real``, which
        depend on numbers, m of each caption with m real ones, on average.
    """
    captions, seeds, _, d = seen.features.shape
    drawn = seen.features.reshape(captions, -1, d)
    real = reference.features[:, 0]
    values = {
        "frechet": frechet_by_caption(*([Moments.of(rows) for rows in x] for x in (drawn, real))),
        "mmd": mmd_across_captions(drawn, real),
    }
    if texts is not None:
        values["cmmd"] = mmd_across_captions(unit(drawn), unit(real), clip_gaussian)
    return _of_captions(values, seeds) | _shares_in_blocks(seen.features, real)


def feature_metrics(
    seen: Observed, reference: Observed, texts: np.ndarray | None = None
) -> dict[str, Estimate]:
    """Measure pictures that nothing judges, caption by caption.

    Args:
        seen: As for `feature_distances`, like the others.
        reference: Likewise.
        texts: Likewise.

    Returns:
        Estimates by metric: ``vendi``, ``vendi.infinity`` and ``mss``, where a caption has two
        pictures, ``edges``, and z's texts and palettes, as in `measure`. ``clip``: 100 times the
        cosine of picture and caption, where that is positive (CLIPScore, 2104.08718, without its
        factor of 2.5).
    """
    estimates = {"edges": _edges(seen, reference)}
    if texts is not None:
        cosines = np.einsum("csnd,cd->csn", unit(seen.features), unit(texts))
        estimates["clip"] = Estimate.mean_of(100.0 * cosines.clip(min=0.0).mean(2))
    if seen.features.shape[2] >= LEAST_VALID:
        for name, score in DIVERSITY.items():
            estimates[name] = _over_all(seen, score)
    return estimates | _text_metrics(seen) | _palette_metrics(seen)


def _edges(seen: Observed, reference: Observed) -> Estimate:
    return Estimate.mean_of(seen.edges.mean(2) / reference.edges.mean(2))


def _of_captions(values: Mapping[str, tuple[float, np.ndarray]], seeds: int) -> dict[str, Estimate]:
    """Estimates of what is known of captions over all seeds: values and pseudo-values."""
    return {
        name: Estimate(value, np.repeat(pseudo[:, None], seeds, axis=1))
        for name, (value, pseudo) in values.items()
    }


def _shares_in_blocks(features: np.ndarray, real: np.ndarray) -> dict[str, Estimate]:
    """Average the metrics that need as many drawn as real pictures over blocks of as many.

    Args:
        features: (captions, seeds, n, d).
        real: (captions, m, d), m no more than n.
    """
    captions, seeds, n, d = features.shape
    m = real.shape[1]
    tables: dict[str, list[np.ndarray]] = {}
    for seed in range(seeds):
        blocks = [
            _shares(features[:, seed, start : start + m].reshape(-1, d), real.reshape(-1, d))
            for start in range(0, n - m + 1, m)
        ]
        for name in blocks[0]:
            points = np.mean([block[name].reshape(captions, m).mean(1) for block in blocks], axis=0)
            tables.setdefault(name, []).append(points)
    return {name: Estimate.mean_of(np.stack(parts, axis=1)) for name, parts in tables.items()}


def _shares(drawn: np.ndarray, real: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics that are means over points: metric -> a value for each point."""
    precise, recalled = membership(real, drawn)
    dense, covered = density_and_coverage(real, drawn)
    return {"precision": precise, "recall": recalled, "density": dense, "coverage.real": covered}


def _set_metrics(seen: Observed, reference: Observed) -> dict[str, Estimate]:
    captions, seeds, _, d = seen.features.shape
    moments = [
        [Moments.of(rows.reshape(-1, d)) for rows in each.features] for each in (seen, reference)
    ]
    each = [features.reshape(captions, -1, d) for features in (seen.features, reference.features)]
    distances = {"frechet": frechet_by_caption(*moments), "mmd": mmd_by_caption(*each)}
    shares = _shares(*(features.reshape(-1, d) for features in each))
    return _of_captions(distances, seeds) | {
        name: Estimate.mean_of(points.reshape(captions, seeds, -1).mean(2))
        for name, points in shares.items()
    }


def _diversity(
    seen: Observed, valid: np.ndarray, name: str, score: Callable[[np.ndarray], float]
) -> dict[str, Estimate]:
    """Score all pictures of a group, and the valid ones alone: garbage is diverse too."""

    def of_valid(c: int, s: int) -> float:
        rows = seen.features[c, s][valid[c, s]]
        return score(rows) if len(rows) >= LEAST_VALID else float("nan")

    return {
        name: _over_all(seen, score),
        f"{name}.valid": _by_cell(seen, of_valid, valid.sum(2)),
    }


def _over_all(seen: Observed, score: Callable[[np.ndarray], float]) -> Estimate:
    return _by_cell(seen, lambda c, s: score(seen.features[c, s]))


def _mode_metric(
    seen: Observed,
    valid: np.ndarray,
    asked: Asked,
    factor: str,
    function: Callable[[Sequence[Verdict], Counter[str], str], float],
) -> Estimate:
    return _by_cell(
        seen, lambda c, s: function(seen.verdicts[c][s], asked[c], factor), valid.sum(2)
    )


def _text_metrics(seen: Observed) -> dict[str, Estimate]:
    """Measure z as texts: whether each parses, and how varied those of a caption and seed are.

    Returns:
        Nothing where no picture has a z.
    """
    if not any(_texts(seen)):
        return {}
    groups = [[[words(z) for z in group] for group in by_seed] for by_seed in seen.z]
    parsed = _by_cell(seen, lambda c, s: float(np.mean([parses(z) for z in seen.z[c][s]])))
    scores: dict[str, Callable[[list[list[str]]], float]] = {
        "distinct2": lambda texts: distinct(texts, 2),
        "repeated4": lambda texts: float(np.mean([repetition(text, 4) for text in texts])),
        "loops": lambda texts: float(np.mean([loops(text) for text in texts])),
        "self_bleu4": lambda texts: self_bleu(texts, 4),
        "zipf": zipf,
    }

    def mean(score: Callable[[list[list[str]]], float]) -> Estimate:
        return _by_cell(seen, lambda c, s: score(groups[c][s]))

    return {"z.parses": parsed} | {f"z.{name}": mean(score) for name, score in scores.items()}


def _texts(seen: Observed) -> list[str]:
    return [z for by_seed in seen.z for group in by_seed for z in group]


def _z_metrics(seen: Observed, asked: Asked, ceiling: float) -> dict[str, Estimate]:
    """Measure whether the pictures show z's boxes, and whether z says what the caption says.

    Returns:
        ``boxes`` (share of z's boxes that the judge finds), ``boxes.of_ceiling`` (as a share of
        what it finds in real pictures); two controls, the same against a z that the picture was
        not drawn from: ``boxes.resampled``, of the caption's next sample, is what heeding the
        caption alone would give, and ``boxes.shuffled``, of the next caption, is chance;
        ``z.count``, ``z.shapes`` and ``z.agrees`` (both, and each shape's number).
    """
    captions = len(asked)

    def adherence(captions_on: int = 0, samples_on: int = 0) -> Estimate:
        def share(c: int, s: int) -> float:
            group = seen.z[(c + captions_on) % captions][s]
            z = [*group[samples_on:], *group[:samples_on]]
            return box_adherence(z, seen.verdicts[c][s]).share

        return _by_cell(seen, share)

    values = {"boxes": adherence(), "boxes.resampled": adherence(samples_on=1)}
    values["boxes.of_ceiling"] = combine([(1.0 / ceiling, values["boxes"])])
    if captions > 1:
        values["boxes.shuffled"] = adherence(captions_on=1)
    for name, holds in (("count", same_count), ("shapes", same_shapes), ("agrees", agrees)):
        values[f"z.{name}"] = _z_share(seen, asked, holds)
    return values


def _palette_metrics(seen: Observed) -> dict[str, Estimate]:
    """Measure whether the pictures have the colours of z's palette, if it has one.

    Returns:
        ``palette`` (mean OKLab distance of a pixel to the nearest colour), ``palette.shares``
        (total variation between weights and pixels), and as controls the same against the
        palette of the caption's next sample: ``palette.resampled``, ``palette.shares.resampled``.
    """
    names = ("palette", "palette.shares", "palette.resampled", "palette.shares.resampled")
    tables = {
        name: _by_cell(seen, _mean_where_known(seen.colours[..., index]))
        for index, name in enumerate(names)
    }
    return {name: table for name, table in tables.items() if np.isfinite(table.value)}


def _mean_where_known(values: np.ndarray) -> Callable[[int, int], float]:
    def mean(c: int, s: int) -> float:
        known = values[c, s][np.isfinite(values[c, s])]
        return float(known.mean()) if known.size else float("nan")

    return mean


def _z_share(seen: Observed, asked: Asked, holds: Callable[[str, Counter[str]], bool]) -> Estimate:
    return _by_cell(seen, lambda c, s: float(np.mean([holds(z, asked[c]) for z in seen.z[c][s]])))


def _by_cell(
    seen: Observed, function: Callable[[int, int], float], counts: np.ndarray | None = None
) -> Estimate:
    captions, seeds = seen.features.shape[:2]
    cells = [[function(c, s) for s in range(seeds)] for c in range(captions)]
    return Estimate.mean_of(np.array(cells), counts)
