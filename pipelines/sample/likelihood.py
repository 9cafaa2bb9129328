"""How likely z is under the prior: its nats, token by token, among what the grammar allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipelines.latents.sequence import z_from_text
from pipelines.latents.text import LatentError
from pipelines.latents.z_grammar import Grammar
from pipelines.models.conditioning import States
from pipelines.models.prior import Prior

ROWS = 16
"""z that are read together."""


@torch.inference_mode()
def z_nats(prior: Prior, caption: str, texts: Sequence[str]) -> list[np.ndarray | None]:
    """Return the cross-entropy of every token of z, at temperature 1.

    Args:
        prior: The prior.
        caption: The caption that z belongs to.
        texts: One z each, as text.

    Returns:
        For each z the nats of its tokens, the end included, float64 (length,); None for a z that
        does not parse or that the prior's grammar cannot write.
    """
    encoded = prior.encode([caption])
    found: list[np.ndarray | None] = []
    for start in range(0, len(texts), ROWS):
        chunk = texts[start : start + ROWS]
        for text, (ids, scores) in zip(chunk, _scores(prior, encoded, chunk), strict=True):
            try:
                found.append(_nats(prior.grammar(tuple(z_from_text(text))), ids, scores))
            except LatentError:
                found.append(None)
    return found


def _scores(
    prior: Prior, caption: States, texts: Sequence[str]
) -> list[tuple[list[int], np.ndarray]]:
    """Return the ids of each z and the logits at their positions, (length, vocabulary)."""
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
