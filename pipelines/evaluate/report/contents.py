"""What a report holds, and its answer in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.evaluate.metrics.compare import (
    BASELINE,
    GIVEN,
    KALEIDO,
    PARITY_CFG,
    RIVAL,
    WINDOW,
    Change,
    Check,
    Estimates,
    Gap,
    Parity,
    Results,
)
from pipelines.evaluate.metrics.statistics import Interval
from pipelines.evaluate.protocol import ProtocolNotes
from pipelines.evaluate.report.titles import TITLES

NAMES = {
    BASELINE: "Baseline",
    RIVAL: "Baseline, guided window",
    KALEIDO: "Kaleido",
    GIVEN: "Kaleido, z of the data",
    "data": "Real pictures",
    "reference": "Real",
}

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
        sources: Source, in the order of the tables -> where its model comes from, ``workspace`` or
            ``embedded``.
        images_seen: Source -> images that its model was trained on, repetitions counted.
        z_kinds: Source -> kinds of z that it draws.
        parity: Whether the comparison is sound; None if one model alone is measured.
        changes: From CFG 1 to the highest guidance.
        aims: At CFG 7.5.
        gaps: z of the prior beside z of the data; none where no z of the data is known.
        estimates: Of the models.
        data: Of real pictures, a second set against the reference.
        real: Seeds and number of the real pictures of each caption.
        clusters: For each caption, the name of its cluster, see `Estimate.clusters`.
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
    gaps: Sequence[Gap]
    estimates: Results
    data: Estimates
    real: tuple[Sequence[int], int]
    clusters: Sequence[str]
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
        """Why the comparison shows nothing; empty if it is sound, or nothing is compared."""
        return "" if self.parity is None or self.parity.sound else self.parity.reason

    @property
    def columns(self) -> list[tuple[str, float]]:
        """Sources and scales in the order of the tables: by scale, then as in `sources`."""
        order = list(self.sources)
        return sorted(self.estimates, key=lambda key: (key[1], order.index(key[0])))

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
        return f"No verdict: {report.void}"
    changes = {change.metric: change for change in report.changes}
    if "vendi" not in changes:
        return "No verdict: it needs CFG 1 and a larger scale."
    vendi = changes["vendi"]
    captions, seeds = len(report.plan["captions"]), len(report.plan["seeds"])
    met, sure = sum(check.passed for check in report.aims), sum(c.sure for c in report.aims)
    sentences = [
        _answer(vendi),
        f"From CFG {PARITY_CFG:g} to {report.highest:g} the Vendi score changes by "
        f"{number(vendi.baseline.value, '+')} for the baseline"
        + (f", {number(vendi.rival.value, '+')} with a guided window" if vendi.rival else "")
        + f", and {number(vendi.kaleido.value, '+')} for Kaleido. Kaleido minus baseline: "
        f"{_words(vendi.difference)}"
        + (f"; minus the guided window: {_words(vendi.over_rival)}" if vendi.over_rival else "")
        + f"; over {_count(captions, 'caption')} in {_count(len(set(report.clusters)), 'cluster')} "
        f"and {_count(seeds, 'seed')}.{_over_valid(changes)}",
        f"At CFG {PARITY_CFG:g} both models fit the data alike{_unsure(report.parity)}.",
        f"{met} of {len(report.aims)} aims are met against the better rival, {sure} of them with "
        "their whole intervals."
        if report.aims
        else "",
        f"At least {SEEDS} seeds are recommended; this run has fewer." if seeds < SEEDS else "",
    ]
    return " ".join(filter(None, sentences))


def change_columns(report: Report) -> list[str]:
    """Name the columns of the table of changes; the rival's are there if it was drawn."""
    if any(change.rival for change in report.changes):
        names = [NAMES[source] for source in (BASELINE, RIVAL, KALEIDO)]
        return [*names, "Kaleido minus baseline", "Kaleido minus window"]
    return [NAMES[BASELINE], NAMES[KALEIDO], "Kaleido minus baseline"]


def change_rows(report: Report) -> Iterator[tuple[str, list[Interval | None]]]:
    """List the title and intervals of each change, as in `change_columns`."""
    with_rival = any(change.rival for change in report.changes)
    for change in report.changes:
        cells: list[Interval | None] = [change.baseline, change.kaleido, change.difference]
        if with_rival:
            cells = [change.baseline, change.rival, *cells[1:], change.over_rival]
        yield report.titles[change.metric][0], cells


GAP_COLUMNS = ("Metric", "z of the prior", "z of the data", "Difference")


def gap_rows(report: Report) -> Iterator[tuple[str, str, list[Interval]]]:
    """List the title, the note and the intervals of each gap, as in `GAP_COLUMNS`."""
    for gap in report.gaps:
        yield *report.titles[gap.metric], [gap.prior, gap.data, gap.difference]


def guidance_of(plan: Mapping[str, Any], source: str) -> str:
    """Write the noise levels at which a source is guided."""
    begin, end = WINDOW if source == RIVAL else (plan["cfg_begin"], plan["cfg_end"])
    return f"{begin:g} down to {end:g}"


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


def _answer(change: Change) -> str:
    """Claim only what holds against every rival that was drawn."""
    gap, rival = change.difference, change.over_rival
    if not gap.known:
        return "Not shown: an interval needs two captions or more."
    if gap.high < 0.0 or (rival is not None and rival.high < 0.0):
        beaten = "baseline" if gap.high < 0.0 else "baseline with a guided window"
        return f"No: Kaleido loses more diversity than the {beaten}."
    if gap.low <= 0.0:
        return "Not shown: the interval of the difference contains zero."
    if rival is not None and not rival.low > 0.0:
        return (
            "Only against plain guidance: Kaleido loses less diversity than the baseline, but not "
            "measurably less than the baseline guided in a window alone."
        )
    return "Yes: Kaleido loses less diversity than its rivals do."


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
    """Describe each source: where its model comes from, what it saw, and which z it draws."""
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
