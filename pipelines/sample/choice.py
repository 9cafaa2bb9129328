"""Choosing the next token: what is kept of its distribution, and the draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.workspace.settings import SampleSettings

_SMALLEST = 2.0**-53
"""Replaces a uniform number of 0, whose Gumbel noise would be infinite, by the next one."""


@dataclass(frozen=True)
class Decoding:
    """How tokens are drawn from a language model; by default from its own distribution.

    The rules that leave out tokens follow each other in the order of the fields, each on the
    probabilities that the former ones have left, as in transformers.

    Attributes:
        temperature: Divides the logits.
        top_k: Keeps the k likeliest tokens (arXiv 1805.04833); 0 keeps all.
        top_p: Keeps the smallest set of likeliest tokens whose mass reaches this: nucleus sampling
            (arXiv 1904.09751). 1 keeps all.
        min_p: Keeps tokens whose probability is at least this share of the likeliest one's (arXiv
            2407.01082); 0 keeps all.
        typical_p: Keeps the smallest set of tokens whose information is nearest to the entropy and
            whose mass reaches this: locally typical sampling (arXiv 2202.00666). 1 keeps all.
        repetition_penalty: Divides positive logits, and multiplies negative ones, of tokens that
            the text already has (CTRL, arXiv 1909.05858, section 4.1); 1 changes nothing.
        no_repeat_ngram: The text has no n-gram of this many tokens twice (arXiv 1705.04304,
            section 2.5), unless nothing else may follow; 0 allows all.

    Raises:
        KaleidoError: ``bad-setting``, if a number is out of the range of `SampleSettings`.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0

    def __post_init__(self) -> None:
        allowed = {item.name: item.metadata["declared"].within for item in fields(SampleSettings)}
        for name, value in vars(self).items():
            if value not in allowed[name]:
                raise KaleidoError(
                    f"{name} {value:g}", f"it must be {allowed[name]}.", code="bad-setting"
                )

    @classmethod
    def of(cls, settings: SampleSettings) -> Decoding:
        """Return the decoding that settings ask for."""
        return cls(**{item.name: getattr(settings, item.name) for item in fields(cls)})


def choose(
    logits: np.ndarray,
    legal: np.ndarray,
    rng: np.random.Generator,
    decoding: Decoding,
    text: Sequence[int] = (),
) -> int:
    """Draw a legal token with the Gumbel-max trick.

    Noise is drawn for the whole vocabulary each time, so that a row's random stream does not depend
    on which tokens were legal.

    Args:
        logits: (vocabulary,).
        legal: Ids of the tokens that may follow, at least one.
        rng: A PCG64 generator.
        decoding: How to draw.
        text: Tokens of the text so far, for the rules against repetition.
    """
    if len(legal) == 1:
        rng.bit_generator.advance(len(logits))  # type: ignore[attr-defined]
        return int(legal[0])
    uniform = rng.random(len(logits))[legal]
    scores = logits[legal].astype(np.float64)
    scores = truncate(penalise(scores, legal, text, decoding), decoding)
    exponential = -np.log(1.0 - np.maximum(uniform, _SMALLEST))
    return int(legal[np.argmax(scores - np.log(exponential))])


def penalise(
    scores: np.ndarray, ids: np.ndarray, text: Sequence[int], decoding: Decoding
) -> np.ndarray:
    """Apply the rules against repetition to the logits of some tokens.

    Args:
        scores: Logits, (n,).
        ids: Their tokens, (n,).
        text: Tokens of the text so far.
        decoding: Of which the last two numbers count.

    Returns:
        The new logits, -inf for a token that may not follow.
    """
    if decoding.repetition_penalty != 1.0 and text:
        factor = np.where(
            scores > 0.0, 1.0 / decoding.repetition_penalty, decoding.repetition_penalty
        )
        scores = np.where(np.isin(ids, text), scores * factor, scores)
    if decoding.no_repeat_ngram:
        repeated = np.isin(ids, _repeating(text, decoding.no_repeat_ngram))
        if not repeated.all():
            scores = np.where(repeated, -np.inf, scores)
    return scores


def _repeating(text: Sequence[int], size: int) -> list[int]:
    """Return the tokens after which an n-gram of this size would stand in the text twice."""
    text, before = list(text), size - 1
    end = text[len(text) - before :]
    starts = range(len(text) - before)
    return [text[at + before] for at in starts if text[at : at + before] == end]


def truncate(scores: np.ndarray, decoding: Decoding) -> np.ndarray:
    """Apply temperature and the rules that leave out tokens.

    Args:
        scores: Logits, (n,), -inf for tokens that are left out already.
        decoding: How to draw.

    Returns:
        The logits of the distribution to draw from, -inf for tokens that are left out.
    """
    if decoding.temperature != 1.0:
        scores = scores / decoding.temperature
    if 0 < decoding.top_k < len(scores):
        scores = np.where(
            scores < np.partition(scores, -decoding.top_k)[-decoding.top_k], -np.inf, scores
        )
    if decoding.top_p < 1.0:
        scores = _until(scores, -scores, decoding.top_p)
    if decoding.min_p > 0.0:
        scores = np.where(scores < scores.max() + np.log(decoding.min_p), -np.inf, scores)
    if decoding.typical_p < 1.0:
        nats = -_log_softmax(scores)
        known = np.isfinite(nats)
        entropy = (np.exp(-nats[known]) * nats[known]).sum()
        scores = _until(scores, np.abs(nats - entropy), decoding.typical_p)
    return scores


def _until(scores: np.ndarray, order: np.ndarray, mass: float) -> np.ndarray:
    """Keep the first tokens of an order, as many as needed for their mass to reach a number."""
    first = np.argsort(order, kind="stable")
    shares = np.exp(_log_softmax(scores))[first]
    kept = scores.copy()
    kept[first[np.cumsum(shares) - shares >= mass]] = -np.inf
    return kept


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max()
    normalised: np.ndarray = shifted - np.log(np.exp(shifted).sum())
    return normalised
