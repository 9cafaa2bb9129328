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
from pipelines.evaluate.protocol import ProtocolNotes
from pipelines.evaluate.report.titles import TITLES

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
        notes: What the protocol tells about itself.
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
    notes: ProtocolNotes
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
    def titles(self) -> dict[str, tuple[str, str]]:
        """Metric -> title and explanation, in the order of the tables."""
        return TITLES | dict(self.notes.titles)

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
