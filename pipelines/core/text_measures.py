"""Text quality of drawn z: diversity and repetition.

Language models tend to repeat themselves and to write generic text; these are the usual metrics. A
token is a word of the written z: a marker, a separator, a grid number or a word of text.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

_TOKEN = re.compile(r"<[^<>\s]+>|[^\s<>]+|[<>]")
_SMALLEST = 0.1
"""Replaces zero n-gram matches in BLEU (Chen and Cherry, 2014, method 1)."""


def words(text: str) -> list[str]:
    """Split a written z into tokens: ``<boxes> star <10>`` has three."""
    return _TOKEN.findall(text)


def distinct(texts: Iterable[Sequence[str]], n: int) -> float:
    """Compute the share of distinct n-grams in some texts (distinct-n; Li et al., 1510.03055).

    It falls with the amount of text, so compare equal numbers of texts. NaN without any n-gram.
    """
    grams = Counter(gram for text in texts for gram in _grams(text, n))
    return len(grams) / grams.total() if grams else float("nan")


def repetition(text: Sequence[str], n: int) -> float:
    """Compute the share of n-grams that repeat an earlier one (rep-n; Welleck, 1908.04319)."""
    grams = Counter(_grams(text, n))
    return 1.0 - len(grams) / grams.total() if grams else 0.0


def loops(text: Sequence[str], least: int = 2, times: int = 3) -> bool:
    """Return whether a text ends in a repeated phrase (Holtzman et al., 1904.09751).

    Args:
        text: Tokens of the text.
        least: Minimum number of tokens in the phrase.
        times: Minimum number of consecutive repetitions.
    """
    return any(
        list(text[-times * size :]) == list(text[-size:]) * times
        for size in range(least, len(text) // times + 1)
    )


def self_bleu(texts: Sequence[Sequence[str]], n: int) -> float:
    """Compute the mean BLEU of each text against all others (Texygen, 1802.01886).

    Args:
        texts: At least two texts.
        n: Length of the longest n-gram; all lengths have equal weight.

    Returns:
        From 0 to 1, which means that all texts are equal; NaN for fewer than two texts.
    """
    if len(texts) < 2:
        return float("nan")
    counts = [[Counter(_grams(text, size)) for size in range(1, n + 1)] for text in texts]
    scores = []
    for index, text in enumerate(texts):
        others = [*range(index), *range(index + 1, len(texts))]
        sizes = range(min(n, len(text)))  # short texts have no long n-grams
        logs = [_log_precision(counts, index, others, size) for size in sizes]
        nearest = min((len(texts[i]) for i in others), key=lambda m: (abs(m - len(text)), m))
        brevity = min(0.0, 1.0 - nearest / max(len(text), 1))
        scores.append(math.exp(brevity + sum(logs) / max(len(logs), 1)))
    return float(np.mean(scores))


def zipf(texts: Iterable[Sequence[str]]) -> float:
    """Compute the Zipf coefficient: the negative least-squares slope of log frequency on log rank.

    About 1 for English (Holtzman et al., 1904.09751). NaN for fewer than two distinct tokens.
    """
    counts = sorted(Counter(token for text in texts for token in text).values(), reverse=True)
    if len(counts) < 2:
        return float("nan")
    ranks = np.log(np.arange(1, len(counts) + 1))
    return -float(np.polyfit(ranks, np.log(counts), 1)[0])


def _grams(text: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(text[start:] for start in range(n)), strict=False))


def _log_precision(
    counts: Sequence[Sequence[Counter[tuple[str, ...]]]],
    index: int,
    others: Sequence[int],
    size: int,
) -> float:
    own = counts[index][size]
    common = sum(
        min(times, max(counts[other][size][gram] for other in others))
        for gram, times in own.items()
    )
    return math.log((common or _SMALLEST) / own.total())
