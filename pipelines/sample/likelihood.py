"""How likely z is under the prior: its nats, token by token, among what the grammar allows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from pipelines.latents.description import Description
from pipelines.latents.sequence import z_from_text
from pipelines.latents.text import LatentError, marker
from pipelines.latents.vocabulary import number_ids
from pipelines.latents.z_grammar import Grammar
from pipelines.models.conditioning import States
from pipelines.models.prior import Prior
from pipelines.sample.decode import together

ROWS = 16
"""z that are read together."""

FEW_CHOICES = math.log(4.0)
"""Entropy in nats below which a place of z offers so few choices that a slip can be told."""


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
        rows = encoded.expand(torch.zeros(len(chunk), dtype=torch.long))
        for text, (ids, scores) in zip(chunk, _scores(prior, rows, chunk), strict=True):
            try:
                grammar = prior.grammar(tuple(z_from_text(text)))
                found.append(_nats_and_entropies(grammar, ids, scores)[0])
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
    ids, mask = prior.tokenize_z(texts)
    is_structure = _StructureOf(prior)
    return [
        float(each[is_structure(row[keep].tolist())].sum())
        for row, keep, each in zip(ids, mask, nats, strict=True)
    ]


@torch.inference_mode()
def surprises(prior: Prior, captions: Sequence[States], texts: Sequence[str]) -> list[float]:
    """Find the greatest slip in each z's structure.

    A label, separator or end is a slip if the prior hardly saw a choice there and yet drew what it
    held for unlikely: where the entropy is below `FEW_CHOICES`, the surprise is the token's nats
    beyond that entropy (as in locally typical sampling, arXiv 2202.00666, but on one side). Where
    many labels are possible a rare one is no slip.

    Args:
        prior: The prior.
        captions: Encoder states of the caption of each z, (1, length, width).
        texts: One z each, that the prior's grammar can write.

    Returns:
        The greatest surprise of each z in nats; 0 if nothing surprises.
    """
    is_structure = _StructureOf(prior)
    found = []
    for start in range(0, len(texts), ROWS):
        chunk = texts[start : start + ROWS]
        rows = together(captions[start : start + ROWS])
        for text, (ids, scores) in zip(chunk, _scores(prior, rows, chunk), strict=True):
            grammar = prior.grammar(tuple(z_from_text(text)))
            nats, entropies = _nats_and_entropies(grammar, ids, scores)
            checked = is_structure(ids) & (entropies < FEW_CHOICES)
            found.append(float(np.max(nats - entropies, initial=0.0, where=checked)))
    return found


@torch.inference_mode()
def log_masses(
    prior: Prior,
    captions: Sequence[States],
    texts: Sequence[str],
    grammar: Grammar,
    temperature: float = 1.0,
) -> list[float]:
    """Compute how much of the prior's distribution a narrower grammar left on the way to each z.

    A z that was drawn with tokens masked has the probability q(z) = p(z) / w(z), where w is the
    product, over its tokens, of the share of the prior's mass that the mask left. So w is the
    weight with which masked draws stand for the prior's own, given that the mask is met.

    Args:
        prior: The prior.
        captions: Encoder states of the caption of each z, (1, length, width).
        texts: One z each, that the narrower grammar can write.
        grammar: The narrower grammar, of the same kinds.
        temperature: Of the draws.

    Returns:
        The logarithm of w for each z, at most 0.
    """
    found, whole = [], prior.grammar(grammar.kinds)
    for start in range(0, len(texts), ROWS):
        chunk = texts[start : start + ROWS]
        rows = together(captions[start : start + ROWS])
        for ids, scores in _scores(prior, rows, chunk):
            total, state, narrow = 0.0, whole.start(), grammar.start()
            for token, logits in zip(ids, scores / temperature, strict=True):
                total += np.logaddexp.reduce(logits[grammar.legal(narrow)])
                total -= np.logaddexp.reduce(logits[whole.legal(state)])
                state, narrow = whole.step(state, token), grammar.step(narrow, token)
            found.append(float(total))
    return found


class _StructureOf:
    """Tell which tokens of a z are labels, separators and ends."""

    def __init__(self, prior: Prior) -> None:
        vocabulary = prior.tokenizer.get_vocab()
        self._numbers = set(number_ids(prior.tokenizer))
        self._markers = {vocabulary[marker(kind)]: kind for kind in prior.z_kinds}

    def __call__(self, ids: Sequence[int]) -> np.ndarray:
        """Return a mask, bool (length,); markers and the end count, free text does not."""
        mask, kind = np.zeros(len(ids), dtype=bool), ""
        for place, token in enumerate(ids):
            kind = self._markers.get(token, kind)
            free = token in self._numbers or kind == Description.kind
            mask[place] = token in self._markers or not free
        return mask


def _scores(prior: Prior, rows: States, texts: Sequence[str]) -> list[tuple[list[int], np.ndarray]]:
    """Return the ids of each z and the logits at their positions, (length, vocabulary)."""
    ids, mask = prior.tokenize_z(texts)
    return [
        (row[keep].tolist(), scores[keep].float().cpu().double().numpy())
        for row, keep, scores in zip(ids, mask, prior.z_logits(rows, ids), strict=True)
    ]


def _nats_and_entropies(
    grammar: Grammar, ids: Sequence[int], scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return cross-entropy of each token, and entropy of its place, among what is legal there."""
    state, nats, entropies = grammar.start(), [], []
    for token, logits in zip(ids, scores, strict=True):
        legal = logits[grammar.legal(state)]
        total = np.logaddexp.reduce(legal)
        nats.append(total - logits[token])
        entropies.append(total - np.exp(legal - total) @ legal)
        state = grammar.step(state, token)
    return np.array(nats), np.array(entropies)
