"""Perplexity: how well a prior foresees the z of real pictures that it has not seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipelines.evaluate.adherence.z_text import read_z
from pipelines.evaluate.metrics.statistics import Estimate, jackknife
from pipelines.evaluate.observe import Observed
from pipelines.latents.grammar import Grammar
from pipelines.models.context import States
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
        allows in its place; so many equally likely ones would be as hard to foresee.
        ``z.length``: tokens of a real z. Nothing where real pictures have no z.
    """
    seeds = len(real.z[0])
    nats = [
        _cross_entropies(prior, caption, [z for group in by_seed for z in group if read_z(z)])
        for caption, by_seed in zip(captions, real.z, strict=True)
    ]
    if not all(len(each) for each in nats):
        return {}

    def of(kept: np.ndarray) -> float:
        return float(np.exp(np.concatenate([z for i in kept for z in nats[i]]).mean()))

    lengths = [np.mean([len(z) for z in each]) for each in nats]
    return {
        "z.perplexity": Estimate.of_captions(*jackknife(of, len(nats)), seeds),
        "z.length": Estimate.of_captions(float(np.mean(lengths)), np.array(lengths), seeds),
    }


@torch.inference_mode()
def _cross_entropies(prior: Prior, caption: str, texts: Sequence[str]) -> list[np.ndarray]:
    """Nats of each token of each z of a caption, ends included."""
    encoded = prior.encode([caption])
    grammars: dict[tuple[str, ...], Grammar] = {}
    found = []
    for start in range(0, len(texts), ROWS):
        chunk = texts[start : start + ROWS]
        for text, (ids, scores) in zip(chunk, _scores(prior, encoded, chunk), strict=True):
            kinds = tuple(read_z(text) or ())
            if kinds not in grammars:
                grammars[kinds] = prior.grammar(kinds)
            found.append(_nats(grammars[kinds], ids, scores))
    return found


def _scores(
    prior: Prior, caption: States, texts: Sequence[str]
) -> list[tuple[list[int], np.ndarray]]:
    """The ids of each z, and the logits in the place of each: (length, vocabulary)."""
    rows = caption.expand(torch.zeros(len(texts), dtype=torch.long))
    ids, mask = prior.tokenize_z(texts)
    logits = prior.model(
        encoder_outputs=(rows.values,),
        attention_mask=rows.mask.long(),
        decoder_input_ids=prior.model.prepare_decoder_input_ids_from_labels(ids),
    ).logits
    return [
        (row[keep].tolist(), scores[keep].float().cpu().double().numpy())
        for row, keep, scores in zip(ids, mask, logits, strict=True)
    ]


def _nats(grammar: Grammar, ids: Sequence[int], scores: np.ndarray) -> np.ndarray:
    state, nats = grammar.start(), []
    for token, logits in zip(ids, scores, strict=True):
        nats.append(np.logaddexp.reduce(logits[grammar.legal(state)]) - logits[token])
        state = grammar.step(state, token)
    return np.array(nats)
