"""How likely z is under the prior: its nats, token by token, among what the grammar allows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipelines.latents.sequence import z_from_text
from pipelines.latents.text import LatentError, marker
from pipelines.latents.vocabulary import number_ids
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


def structure_nats(prior: Prior, texts: Sequence[str], nats: Sequence[np.ndarray]) -> list[float]:
    """Sum the nats of a z's structure: labels, separators and ends, but no numbers or free text.

    There is little to choose there, so a large sum means a slip: a thing that the caption does not
    ask for, or one that is missing. (In 128 z of the shipped prior, all those that agree with their
    caption have less than 1 nat, the others more than 4.)

    Args:
        prior: The prior.
        texts: One z each.
        nats: Their `z_nats`.

    Returns:
        A sum for each z.
    """
    vocabulary = prior.tokenizer.get_vocab()
    numbers = set(number_ids(prior.tokenizer))
    markers = {vocabulary[marker(kind)]: kind for kind in prior.z_kinds}
    ids, mask = prior.tokenize_z(texts)

    def total(tokens: list[int], values: list[float]) -> float:
        found, kind = 0.0, ""
        for token, value in zip(tokens, values, strict=True):
            kind = markers.get(token, kind)
            if token in markers or (token not in numbers and kind != "description"):
                found += value
        return found

    return [
        total(row[keep].tolist(), each.tolist())
        for row, keep, each in zip(ids, mask, nats, strict=True)
    ]


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
