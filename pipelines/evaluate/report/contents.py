"""What a report holds, and its answer in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.evaluate.metrics.compare import (
    BASELINE,
    KALEIDO,
    PARITY_CFG,
    Change,
    Check,
    Estimates,
    Parity,
    Results,
)
from pipelines.evaluate.metrics.statistics import Interval
from pipelines.evaluate.protocol import Description
from pipelines.scenes.modes import FACTORS


def _controls(metric: str, words: str) -> dict[str, tuple[str, str]]:
    """Titles of what adherence is compared with."""
    return {
        f"{metric}.resampled": (f"Control: {words} of the next z", "what the caption alone gives"),
        f"{metric}.shuffled": (f"Control: {words} of another caption's z", "chance"),
    }


def _as_text(metric: str, what: str) -> dict[str, tuple[str, str]]:
    """Titles and meanings of the metrics of texts."""
    return {
        f"{metric}.distinct2": (
            f"{what}: different pairs",
            f"share of different 2-grams among a caption's {what}",
        ),
        **{
            f"{metric}.self_bleu{n}": (
                f"{what}: self-BLEU-{n}",
                f"likeness of a caption's {what} to each other; 1 is all alike",
            )
            for n in (4, 5)
        },
        f"{metric}.repeated4": (
            f"{what}: repetition",
            "share of 4-grams that stood in the same text before (rep-4)",
        ),
        f"{metric}.loops": (f"{what}: loops", "share that ends in a phrase said over and over"),
        f"{metric}.zipf": (
            f"{what}: Zipf coefficient",
            "slope of log frequency over log rank; about 1 in English",
        ),
    }


def _calibrated(factor: str, words: str) -> dict[str, tuple[str, str]]:
    """Titles of a factor's distance from the data, and of its floor."""
    metric = f"z.calibration.{factor}"
    return {
        metric: (f"z: {words}", "total variation from those of real z"),
        f"{metric}.floor": (f"Floor: {words}", "of equal z, by finite numbers"),
    }


TITLES = {
    "vendi": ("Vendi score", "effective number of different samples of a caption"),
    "vendi.valid": ("Vendi score, valid only", "over pictures with exactly the captioned objects"),
    "vendi.infinity": (
        "Vendi score, order ∞",
        "1 over the share of the most common kind of sample",
    ),
    "vendi.infinity.valid": ("Vendi, order ∞, valid only", "the same over such pictures"),
    "mss": ("Similarity (MSS)", "mean cosine of two samples of a caption; less is more diverse"),
    "mss.valid": ("Similarity, valid only", "over pictures with exactly the captioned objects"),
    "recall": ("Recall", "share of real pictures that the samples reach"),
    "precision": ("Precision", "share of samples that look real"),
    "coverage.real": ("Coverage", "share of real pictures that have a sample near them"),
    "density": ("Density", "how thick the real pictures lie around a sample; 1 is as in the data"),
    "mmd": ("Kernel distance (MMD²)", "unbiased, cubic kernel: KID's, on these features"),
    "cmmd": ("CMMD", "kernel distance of CLIP's kind, unbiased; less is better"),
    "clip": ("CLIP score", "100 times the cosine of picture and caption"),
    "frechet": ("Fréchet distance", "distance to real pictures; less is better"),
    "copies": (
        "Near training pictures",
        "share of samples nearer to one of those searched than 95 % of new real pictures are; "
        "0.05 is as new",
    ),
    "edges": ("Edge energy", "over that of real pictures: below 1 is soft, above 1 is noisy"),
    "caption": (
        "Caption kept",
        "share of pictures with exactly the captioned objects, in the colours that are stated",
    ),
    "explained": (
        "Variance that z explains",
        "1 − E[Var(x|z,c)] / E[Var(x|c)] of features; 0 for a z that is not heeded",
    ),
    "boxes": ("Boxes of z kept", "share of z's boxes found at IoU of 0.5 or more"),
    "boxes.of_ceiling": ("Boxes kept, of the ceiling", "over what the judge finds of real ones"),
    **_controls("boxes", "boxes"),
    "boxes.iou": ("Boxes: IoU", "mean over the boxes found"),
    "boxes.missing": ("Boxes: missing", "a picture's mean number of z's boxes not found"),
    "boxes.extra": ("Boxes: extra", "a picture's mean number of objects that z does not have"),
    "blobs": ("Blobs of z kept", "share of z's ellipses found at IoU of 0.5 or more"),
    **_controls("blobs", "blobs"),
    "blobs.iou": ("Blobs: IoU", "mean over the ellipses found"),
    "blobs.centre": ("Blobs: centre", "mean distance in thousandths of the side, of those found"),
    "blobs.angle": ("Blobs: angle", "mean error in degrees of long ones found; 45 is chance"),
    "blobs.missing": ("Blobs: missing", "a picture's mean number of z's blobs not found"),
    "blobs.extra": ("Blobs: extra", "a picture's mean number of objects that z does not have"),
    "tokens": ("Tokens of z kept", "share of equal ids when the picture is tokenised again"),
    "tokens.reconstructed": ("Tokens: ceiling", "the same of the tokenizer's own picture of z"),
    **_controls("tokens", "tokens"),
    "description": ("Description kept", "share of its facts that the judge sees in the picture"),
    **_controls("description", "facts"),
    **{
        f"description.{name}": (f"Description: {words}", f"share of the {words} stated")
        for name, words in {
            "shape": "shapes",
            "count": "numbers of objects",
            "colour": "colours",
            "texture": "textures",
            "size": "sizes",
            "place": "places",
            "arrangement": "arrangements",
            "background": "backgrounds",
        }.items()
    },
    "palette": ("Palette kept", "mean OKLab distance of a pixel to z's nearest colour"),
    **_controls("palette", "palette"),
    "palette.shares": ("Palette's weights kept", "total variation from the shares of pixels"),
    **_controls("palette.shares", "weights"),
    "z.parses": ("z parses", "share of drawn z that follow the grammar"),
    "z.count": ("z has the captioned count", "share with as many boxes as captioned objects"),
    "z.shapes": ("z has the captioned shapes", "share with these shapes, in whatever numbers"),
    "z.agrees": ("z agrees with the caption", "share with exactly the captioned objects"),
    **_as_text("z", "z"),
    **_as_text("z.description", "descriptions"),
    "z.perplexity": ("z: perplexity", "of a token of real z under the prior and its grammar"),
    "z.length": ("z: length", "tokens of a real z"),
    "z.writable": ("Real z within the grammar", "share that the prior could write"),
    **_calibrated("count", "numbers of objects"),
    **_calibrated("place", "places"),
    **_calibrated("size", "sizes"),
    **_calibrated("colour", "palette's colours"),
    "entropy.colour": ("Colour entropy", "nats, given the shape; tells of the caption"),
    "entropy.texture": ("Texture entropy", "nats, given the shape; tells of the caption"),
    "entropy.place": ("Place entropy", "nats over a 3 by 3 grid, given the shape"),
    "entropy.arrangement": ("Arrangement entropy", "nats, given the count; tells of the caption"),
    "entropy.size": ("Size entropy", "nats; independent of the caption"),
    "entropy.background": ("Background entropy", "nats; independent of the caption"),
    **{
        f"entropy.{factor}.real": (
            f"{factor.capitalize()} entropy of as many real pictures",
            "nats, of as many as are valid of the model's: what it should have",
        )
        for factor in FACTORS
    },
    "coverage.colour": ("Colours covered", "expected share of the known ones in 8 draws"),
    "coverage.texture": ("Textures covered", "expected share of the known ones in 8 draws"),
    "coverage.place": ("Places covered", "expected share of the 9 in 8 draws"),
    "coverage.arrangement": ("Arrangements covered", "expected share of the known ones in 8 draws"),
    "coverage.size": ("Sizes covered", "expected share of the known ones in 8 draws"),
    "coverage.background": ("Backgrounds covered", "expected share of the known ones in 8 draws"),
}
"""Metric -> its title and what it says."""

NAMES = {BASELINE: "Baseline", KALEIDO: "Kaleido", "data": "Real pictures", "reference": "Real"}

SEEDS = 3
"""With fewer, the verdict says that it has fewer."""


@dataclass(frozen=True)
class Grid:
    """Pictures of one caption: rows of (model or ``reference``, guidance scale, pictures)."""

    caption: str
    rows: Sequence[tuple[str, float, np.ndarray]]


@dataclass(frozen=True)
class Report:
    """Everything that the page shows.

    Attributes:
        plan: Captions, n, cfg, steps and seeds.
        features: Name of the feature space.
        tokenizer: Name of what reads tokens in pictures; empty if nothing does.
        description: What the yardstick says of itself.
        sources: Model -> ``workspace`` or ``embedded``.
        images_seen: Model -> images that it was trained on, repetitions counted.
        z_kinds: Model -> kinds of z that it draws.
        parity: Whether the comparison is sound; None if one model alone is measured.
        changes: From CFG 1 to the highest guidance.
        aims: At CFG 7.5.
        estimates: Of the models.
        data: Of real pictures, a second set against the reference.
        real: Seeds and number of the real pictures of each caption.
        grids: Pictures, not chosen: the first of each caption.
        command: What makes this page again.
    """

    plan: Mapping[str, Any]
    features: str
    tokenizer: str
    description: Description
    sources: Mapping[str, str]
    images_seen: Mapping[str, int]
    z_kinds: Mapping[str, Sequence[str]]
    parity: Parity | None
    changes: Sequence[Change]
    aims: Sequence[Check]
    estimates: Results
    data: Estimates
    real: tuple[Sequence[int], int]
    grids: Sequence[Grid]
    command: str

    @property
    def highest(self) -> float:
        """The highest guidance scale."""
        return max(scale for _, scale in self.estimates)

    @property
    def void(self) -> str:
        """Why the comparison is void; empty if it is sound, or nothing is compared."""
        return "" if self.parity is None or self.parity.sound else self.parity.reason

    @property
    def question(self) -> str:
        """What the report is about."""
        if self.parity is None:
            return f"What does {_alone(self)} draw?"
        return "Does drawing z first keep pictures diverse under strong guidance?"


def verdict(report: Report) -> str:
    """Answer the question in a few sentences, from the numbers alone: parity first."""
    if report.parity is None:
        return (
            f"Nothing is compared: {_alone(report)} alone was measured, beside real pictures. "
            "`kaleido evaluate` without --models compares it."
        )
    if report.void:
        return "It cannot be said from this run: the comparison is void."
    changes = {change.metric: change for change in report.changes}
    if "vendi" not in changes:
        return "It cannot be said from this run: it needs CFG 1 and a larger one."
    vendi = changes["vendi"]
    captions, seeds = len(report.plan["captions"]), len(report.plan["seeds"])
    met, sure = sum(check.passed for check in report.aims), sum(c.sure for c in report.aims)
    sentences = [
        f"The comparison is fair: at CFG {PARITY_CFG:g} both models fit the data alike"
        f"{_unsure(report.parity)}.",
        _answer(vendi.difference),
        f"From CFG {PARITY_CFG:g} to {report.highest:g} the baseline's Vendi score changes by "
        f"{number(vendi.baseline.value, '+')}, Kaleido's by {number(vendi.kaleido.value, '+')}; "
        f"the difference is {_words(vendi.difference)}, over {_count(captions, 'caption')} and "
        f"{_count(seeds, 'seed')}.{_over_valid(changes)}",
        f"{met} of {len(report.aims)} aims are met, {sure} of them with their whole intervals."
        if report.aims
        else "",
        f"{SEEDS} seeds are the rule; this run has fewer." if seeds < SEEDS else "",
    ]
    return " ".join(filter(None, sentences))


def _unsure(parity: Parity) -> str:
    """Name the conditions of parity whose intervals reach beyond their limits."""
    unsure = sum(not check.sure for check in parity.checks)
    if not unsure:
        return ""
    return (
        f", as far as so few captions tell: {unsure} of {len(parity.checks)} conditions hold by "
        "their values, but their intervals reach beyond the limits"
    )


def _alone(report: Report) -> str:
    return NAMES[next(iter(report.sources))]


def _over_valid(changes: Mapping[str, Change]) -> str:
    if "vendi.valid" not in changes:
        return ""
    return f" Over valid pictures alone it is {_words(changes['vendi.valid'].difference)}."


def _answer(gap: Interval) -> str:
    if not gap.known:
        return "Not shown: an interval needs two captions or more."
    if gap.low > 0.0:
        return "Yes: Kaleido loses less diversity than the baseline does."
    if gap.high < 0.0:
        return "No: Kaleido loses more diversity than the baseline does."
    return "Not shown: the interval on the difference holds zero."


def _words(interval: Interval) -> str:
    value = number(interval.value, "+")
    if not interval.known:
        return f"{value} (no interval)"
    low, high = (number(end, "+") for end in (interval.low, interval.high))
    return f"{value} (95 % interval {low} to {high})"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def bound(check: Check) -> str:
    """Say a condition's bound."""
    return f"{'at least' if check.sign == '>=' else 'at most'} {check.limit:g}"


def outcome(check: Check) -> str:
    """Say whether a condition is met."""
    if not check.measured:
        return "not measured"
    return "met" if check.passed else "not met"


def searched(training: int) -> str:
    """Say in which training pictures copies are looked for; what others were copied is not seen."""
    return f"{training:,} training pictures, or all" if training else "all training pictures"


def compared_models(report: Report) -> list[str]:
    """Say of each model where it comes from, what it saw and which z it draws."""
    return [
        f"{NAMES[model]} ({source}, {report.images_seen[model]:,} images seen, "
        f"z: {', '.join(report.z_kinds[model]) or 'none'})"
        for model, source in report.sources.items()
    ]


def number(value: float, sign: str = "") -> str:
    """Write a number with a fitting count of places; `sign` is ``+`` to show it always."""
    if not math.isfinite(value):
        return "not measured"
    if 0.0 < abs(value) < 0.001:
        return f"{value:{sign}.0e}".replace("e-0", "e-").replace("-", "−")
    places = 3 if abs(value) < 1.0 else 2 if abs(value) < 100.0 else 0
    return f"{value:{sign}.{places}f}".replace("-", "−")
