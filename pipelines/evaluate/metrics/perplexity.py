"""Perplexity: how well a prior predicts the z of held-out real pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.evaluate.adherence.z_text import read_z
from pipelines.evaluate.metrics.statistics import Estimate, jackknife
from pipelines.evaluate.observe import Observed
from pipelines.models.prior import Prior
from pipelines.sample.likelihood import z_nats


def perplexity(prior: Prior, captions: Sequence[str], real: Observed) -> dict[str, Estimate]:
    """Measure a prior's perplexity on the z of real pictures, at temperature 1.

    Args:
        prior: The prior.
        captions: The captions of `real`.
        real: Real pictures with z that the prior was not trained on.

    Returns:
        ``z.perplexity``: exponential of the mean cross-entropy of a token among those that the
        grammar allows at its position, over the kinds that real z have. ``z.length``: number of
        tokens of a real z. ``z.writable``: share of real z that the prior's grammar can write;
        others, for example with a label that is not in the prior's training data, are excluded
        from the first two. Empty if real pictures have no z.
    """
    seeds = len(real.z[0])
    texts = [[z for group in by_seed for z in group if read_z(z)] for by_seed in real.z]
    nats = [
        [each for each in z_nats(prior, *pair) if each is not None]
        for pair in zip(captions, texts, strict=True)
    ]
    total, known = sum(map(len, texts)), [i for i, each in enumerate(nats) if each]
    if not total:
        return {}
    written = np.array([len(n) / len(t) if t else np.nan for n, t in zip(nats, texts, strict=True)])
    values = {"z.writable": (sum(map(len, nats)) / total, written)}
    if known:
        lengths = np.array([np.mean([len(z) for z in each]) if each else np.nan for each in nats])
        values["z.perplexity"] = jackknife(
            lambda kept: _perplexity([nats[i] for i in kept]), len(nats), known
        )
        values["z.length"] = float(np.nanmean(lengths)), lengths
    return {name: Estimate.of_captions(*parts, seeds) for name, parts in values.items()}


def _perplexity(nats: Sequence[Sequence[np.ndarray]]) -> float:
    return float(np.exp(np.concatenate([z for each in nats for z in each]).mean()))
