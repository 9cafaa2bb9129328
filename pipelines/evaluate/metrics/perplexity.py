"""Perplexity: how well a prior foresees the z of real pictures that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np
import torch

from pipelines.evaluate.adherence.z_text import read_z
from pipelines.evaluate.metrics.statistics import Estimate, jackknife
from pipelines.evaluate.observe import Observed
from pipelines.latents.text import LatentError
from pipelines.latents.z_grammar import Grammar
from pipelines.models.conditioning import States
from pipelines.models.prior import Prior

ROWS = 16
"""z that are read together."""


def perplexity(prior: Prior, captions: Sequence[str], real: Observed) -> dict[str, Estimate]:
    """Measure a prior on the z of real pictures, as it would draw them at temperature 1.

    Args:
        prior: The prior.
        captions: The captions of `real`.
        real: Real pictures with their z, none of which the prior was trained on.

    Returns:
        ``z.perplexity``: exp of the mean cross-entropy of a token, among those that the grammar
        allows in its place; so many equally likely ones would be as hard to foresee. Of the kinds
        that real z have. ``z.length``: tokens of a real z. ``z.writable``: share of real z that
        the prior's grammar can write; one with a label that the prior's data did not have, say,
        counts in neither of the others. Nothing where real pictures have no z.
    """
    seeds = len(real.z[0])
    texts = [[z for group in by_seed for z in group if read_z(z)] for by_seed in real.z]
    nats = [_cross_entropies(prior, *pair) for pair in zip(captions, texts, strict=True)]
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


@torch.inference_mode()
def _cross_entropies(prior: Prior, caption: str, texts: Sequence[str]) -> list[np.ndarray]:
    """Nats of each token, ends included, of each z of a caption that can be written."""
    encoded = prior.encode([caption])
    found = []
    for start in range(0, len(texts), ROWS):
        chunk = texts[start : start + ROWS]
        for text, (ids, scores) in zip(chunk, _scores(prior, encoded, chunk), strict=True):
            with suppress(LatentError):
                found.append(_nats(prior.grammar(tuple(read_z(text) or ())), ids, scores))
    return found


def _scores(
    prior: Prior, caption: States, texts: Sequence[str]
) -> list[tuple[list[int], np.ndarray]]:
    """The ids of each z, and the logits in the place of each: (length, vocabulary)."""
    rows = caption.expand(torch.zeros(len(texts), dtype=torch.long))
    ids, mask = prior.tokenize_z(texts)
    return [
        (row[keep].tolist(), scores[keep].float().cpu().double().numpy())
        for row, keep, scores in zip(ids, mask, prior.z_logits(rows, ids), strict=True)
    ]


def _nats(grammar: Grammar, ids: Sequence[int], scores: np.ndarray) -> np.ndarray:
    state, nats = grammar.start(), []
    for token, logits in zip(ids, scores, strict=True):
        nats.append(np.logaddexp.reduce(logits[grammar.legal(state)]) - logits[token])
        state = grammar.step(state, token)
    return np.array(nats)
