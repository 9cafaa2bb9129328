"""Interpret the numbers: whether the comparison is fair, the effect of guidance, and the aims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipelines.evaluate.metrics.statistics import (
    Estimate,
    Interval,
    combine,
    difference_of_differences,
    ratio,
)

Estimates = Mapping[str, Estimate]
Results = Mapping[tuple[str, float], Estimates]
"""(model, guidance scale) -> metric -> estimate."""

MODELS = BASELINE, KALEIDO = ("baseline", "kaleido")

RIVAL = "window"
"""The baseline with guidance only at noise levels in `WINDOW`: a remedy for lost diversity that
needs no z and has the same cost (2404.07724), so Kaleido has to be compared with it."""

WINDOW = (0.8, 0.5)
"""``cfg_begin`` and ``cfg_end`` of the rival, tuned on captions that no evaluation uses."""

IN_WORDS = {BASELINE: "baseline", RIVAL: "baseline with a guided window"}

GIVEN = "given"
"""Kaleido with z of the data in place of the prior's: what it would draw with a perfect prior."""

GAP = (
    *("caption", "description", "boxes", "blobs", "tokens", "palette"),
    *("frechet", "mmd", "cmmd", "clip", "precision", "recall", "vendi", "edges"),
    *("z.agrees", "z.self.iou", "z.self.apart", "z.self.centre", "z.self.count"),
    *("z.self.labels", "z.self.colours"),
)
"""Metrics by which the prior's z are compared with those of the data."""

PARITY_CFG = 1.0
PARITY_ENTROPY = 0.95
PARITY_FRECHET = 1.25
PARITY_CAPTIONS = 8
PARITY_SEEDS = 3
AIMS_CFG = 7.5
HEADLINES = (*("vendi", "vendi.valid", "mss", "mss.valid", "recall", "precision", "frechet"),)


@dataclass(frozen=True)
class Check:
    """A condition and whether it holds.

    Attributes:
        name: What is compared.
        interval: The value, with its interval if there is one.
        sign: ``>=`` or ``<=``.
        limit: The bound.
        passed: Whether the value satisfies the bound; False if it could not be measured.
    """

    name: str
    interval: Interval
    sign: str
    limit: float
    passed: bool

    @property
    def measured(self) -> bool:
        """Whether the value could be measured."""
        return math.isfinite(self.interval.value)

    @property
    def sure(self) -> bool:
        """Whether the whole interval satisfies the bound."""
        low, high = self.interval.low, self.interval.high
        return low >= self.limit if self.sign == ">=" else high <= self.limit


@dataclass(frozen=True)
class Parity:
    """Whether both models are equally well trained, without which a comparison is meaningless.

    Attributes:
        sound: Whether the comparison is valid.
        reason: Why it is not valid; empty if it is.
        checks: The conditions that were checked.
    """

    sound: bool
    reason: str
    checks: tuple[Check, ...]

    @property
    def failed(self) -> bool:
        """Whether a measured condition fails, as opposed to the run being too small."""
        return any(check.measured and not check.passed for check in self.checks)


@dataclass(frozen=True)
class Change:
    """The change of a metric from CFG 1 to the highest guidance scale.

    Attributes:
        metric: Name of the metric.
        baseline: Change of the baseline.
        kaleido: Change of Kaleido.
        difference: Kaleido's change minus the baseline's.
        rival: Change of the baseline with a guided window, relative to the baseline without
            guidance; None if it was not drawn.
        over_rival: Kaleido's change minus the rival's.
    """

    metric: str
    baseline: Interval
    kaleido: Interval
    difference: Interval
    rival: Interval | None = None
    over_rival: Interval | None = None


@dataclass(frozen=True)
class Gap:
    """What z of the prior cost, beside z of the data.

    Attributes:
        metric: Name of the metric.
        prior: With z of the prior.
        data: With z of the data.
        difference: `prior` minus `data`.
    """

    metric: str
    prior: Interval
    data: Interval
    difference: Interval


def gaps(results: Results) -> list[Gap]:
    """Compare Kaleido's z with those of the data, at the scale at which both were drawn."""
    scale = next((scale for source, scale in results if source == GIVEN), None)
    ours = results.get((KALEIDO, scale)) if scale is not None else None
    if scale is None or ours is None:
        return []
    given = results[GIVEN, scale]
    return [
        Gap(
            metric,
            ours[metric].interval(),
            given[metric].interval(),
            combine([(1.0, ours[metric]), (-1.0, given[metric])]).interval(),
        )
        for metric in GAP
        if metric in ours and metric in given
    ]


def parity(results: Results, unknown: str = "", entropies: Sequence[str] = ()) -> Parity:
    """Check that both models fit the data equally well without guidance.

    At CFG 1, both must reach 95 % of the data's entropies if a judge knows the modes, and the
    baseline's Fréchet distance must be at most 1.25 times Kaleido's, because an undertrained
    baseline loses every comparison. The data's entropy is computed on as many real pictures as the
    model has valid pictures; estimates on fewer pictures are smaller, which would penalise the
    weaker model. With fewer than eight captions or three seeds, these conditions may hold by
    chance.

    Args:
        results: Results of all models and scales.
        unknown: Why real pictures cannot decide this; empty if they can.
        entropies: Mode metrics, each compared with ``METRIC.real``.
    """
    missing = [model for model in (BASELINE, KALEIDO) if (model, PARITY_CFG) not in results]
    if missing:
        reason = f"parity requires both models at CFG 1; missing: {', '.join(missing)}."
        return Parity(False, reason, ())
    models = {model: results[model, PARITY_CFG] for model in (BASELINE, KALEIDO)}
    checks = [
        _check(
            f"{model.capitalize()}: {name.partition('.')[2]} entropy relative to the data",
            ratio(values[name], values[f"{name}.real"]),
            ">=",
            PARITY_ENTROPY,
        )
        for model, values in models.items()
        for name in entropies
    ]
    distances = ratio(models[BASELINE]["frechet"], models[KALEIDO]["frechet"])
    checks.append(
        _check("Fréchet distance, baseline over Kaleido", distances, "<=", PARITY_FRECHET)
    )
    reason = _failed(checks) or unknown or _too_few(*models[BASELINE]["frechet"].table.shape)
    return Parity(not reason, reason, tuple(checks))


def _failed(checks: Sequence[Check]) -> str:
    """Name the conditions that fail, or those that could not be measured; empty if all hold."""
    failed = [check.name for check in checks if check.measured and not check.passed]
    if failed:
        return f"at CFG 1 the models are not equally well trained ({'; '.join(failed)})."
    unmeasured = [check.name for check in checks if not check.measured]
    if unmeasured:
        return f"parity at CFG 1 could not be measured ({'; '.join(unmeasured)})."
    return ""


def _too_few(captions: int, seeds: int) -> str:
    """Explain that there are too few pictures to establish parity; empty if there are enough."""
    if captions >= PARITY_CAPTIONS and seeds >= PARITY_SEEDS:
        return ""
    return (
        "the run is too small to tell whether the models are equally well trained (captions: "
        f"{captions}, seeds: {seeds}; required: {PARITY_CAPTIONS} and {PARITY_SEEDS})."
    )


def changes(results: Results, headlines: Sequence[str] = ()) -> list[Change]:
    """Compare the models' changes from CFG 1 to the highest guidance scale that both have.

    Args:
        results: Results of all models and scales.
        headlines: Metrics to compare in addition to `HEADLINES`.
    """
    scales = _shared_scales(results)
    if PARITY_CFG not in scales or scales[-1] == PARITY_CFG:
        return []
    ends = {m: (results[m, PARITY_CFG], results[m, scales[-1]]) for m in MODELS}
    rival = results.get((RIVAL, scales[-1]))
    return [
        _change(metric, ends[BASELINE], ends[KALEIDO], rival)
        for metric in (*HEADLINES, *headlines)
        if all(metric in e for pair in ends.values() for e in pair)
    ]


def aims(results: Results) -> list[Check]:
    """Check the aims at CFG 7.5, for Kaleido against its best rival.

    The rivals are the baseline and, if drawn, the baseline with a guided window; each metric is
    compared with the better one. Aims: Vendi at least 1.25 times, MSS at most 0.76 times and
    Fréchet at most 0.6 times the rival's; recall at least 1.9 times the rival's or, if that exceeds
    0.5, at least 90 % of Kaleido's own at CFG 1; and at least 90 % of z's boxes found, relative to
    the judge's ceiling.

    Args:
        results: Results of all models and scales. Nothing is checked without both models at CFG 1
            and 7.5.
    """
    if not {PARITY_CFG, AIMS_CFG} <= set(_shared_scales(results)):
        return []
    kaleido = results[KALEIDO, AIMS_CFG]
    rivals = {m: results[m, AIMS_CFG] for m in (BASELINE, RIVAL) if (m, AIMS_CFG) in results}
    at = f"at CFG {AIMS_CFG:g}"

    def best(metric: str, sign: str) -> str:
        known = [m for m in rivals if math.isfinite(rivals[m][metric].value)] or [BASELINE]
        choose = max if sign == ">=" else min
        return choose(known, key=lambda model: rivals[model][metric].value)

    def against(metric: str, title: str, sign: str, limit: float) -> Check:
        rival = best(metric, sign)
        name = f"{title} {at}, Kaleido over {IN_WORDS[rival]}"
        return _check(name, ratio(kaleido[metric], rivals[rival][metric]), sign, limit)

    checks = [against("vendi", "Vendi", ">=", 1.25), against("mss", "MSS", "<=", 0.76)]
    rival = best("recall", ">=")
    if rivals[rival]["recall"].value > 0.5:
        own = results[KALEIDO, PARITY_CFG]["recall"]
        name = (
            f"Recall {at}, Kaleido over its own at CFG {PARITY_CFG:g} ({IN_WORDS[rival]} above 0.5)"
        )
        checks.append(_check(name, ratio(kaleido["recall"], own), ">=", 0.9))
    else:
        checks.append(against("recall", "Recall", ">=", 1.9))
    checks.append(against("frechet", "Fréchet", "<=", 0.6))
    if "boxes.of_ceiling" in kaleido:
        share = kaleido["boxes.of_ceiling"].interval()
        checks.append(_check(f"Boxes of z found {at}, relative to the ceiling", share, ">=", 0.9))
    return checks


def _change(
    metric: str,
    baseline: Sequence[Estimates],
    kaleido: Sequence[Estimates],
    rival: Estimates | None,
) -> Change:
    plain, ours = ((ends[0][metric], ends[1][metric]) for ends in (baseline, kaleido))
    change = Change(metric, _own(plain), _own(ours), difference_of_differences(plain, ours))
    if rival is None or metric not in rival:
        return change
    window = (plain[0], rival[metric])  # without guidance, the rival is the baseline
    over = difference_of_differences(window, ours)
    return replace(change, rival=_own(window), over_rival=over)


def _own(ends: tuple[Estimate, Estimate]) -> Interval:
    return combine([(-1.0, ends[0]), (1.0, ends[1])]).interval()


def _shared_scales(results: Results) -> list[float]:
    scales = [{cfg for model, cfg in results if model == name} for name in (BASELINE, KALEIDO)]
    return sorted(scales[0] & scales[1])


def _check(name: str, interval: Interval, sign: str, limit: float) -> Check:
    value = interval.value
    return Check(name, interval, sign, limit, value >= limit if sign == ">=" else value <= limit)
