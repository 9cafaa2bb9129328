"""Text quality of z and of its descriptions, for each caption."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipelines.core.text_measures import distinct, loops, repetition, self_bleu, words, zipf
from pipelines.evaluate.adherence.boxes import parses
from pipelines.evaluate.adherence.z_text import latent_of
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.evaluate.observe import Observed
from pipelines.latents.description import Description


def text_metrics(seen: Observed) -> dict[str, Estimate]:
    """Measure whether z parse, and the diversity of the z of each caption and seed.

    Returns:
        ``z.parses``; ``z.distinct2``, ``z.repeated4``, ``z.loops``, ``z.self_bleu4``,
        ``z.self_bleu5`` and ``z.zipf``; and the same as ``z.description.distinct2`` and so on for
        the descriptions only, over the z that parse and have one. Empty if no picture has a z.
    """
    if not any(seen.texts):
        return {}
    values = {
        "z.parses": seen.by_group(lambda c, s: float(np.mean(list(map(parses, seen.z[c][s])))))
    }
    values |= _quality(seen, "z", words)
    if any(map(_description, seen.texts)):
        values |= _quality(seen, "z.description", _description)
    return values


def _description(text: str) -> list[str]:
    """Return the words of z's description; none if z has no description or does not parse."""
    description = latent_of(text, Description)
    return words(description.text) if description else []


def _quality(seen: Observed, prefix: str, split: Callable[[str], list[str]]) -> dict[str, Estimate]:
    """Measure diversity and repetition of texts, ignoring empty ones."""
    groups = [[[t for t in map(split, z) if t] for z in by_seed] for by_seed in seen.z]
    counts = np.array([[len(texts) for texts in by_seed] for by_seed in groups])
    scores: dict[str, Callable[[list[list[str]]], float]] = {
        "distinct2": lambda texts: distinct(texts, 2),
        "repeated4": lambda texts: float(np.mean([repetition(text, 4) for text in texts])),
        "loops": lambda texts: float(np.mean([loops(text) for text in texts])),
        "self_bleu4": lambda texts: self_bleu(texts, 4),
        "self_bleu5": lambda texts: self_bleu(texts, 5),
        "zipf": zipf,
    }

    def mean(score: Callable[[list[list[str]]], float]) -> Estimate:
        def of_group(c: int, s: int) -> float:
            return score(groups[c][s]) if groups[c][s] else float("nan")

        return seen.by_group(of_group, counts)

    return {f"{prefix}.{name}": mean(score) for name, score in scores.items()}
