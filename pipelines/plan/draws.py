"""How varied a planner's plans are over independent draws, with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.core.progress import Progress
from pipelines.core.student import student
from pipelines.plan.planners.find import FoundPlanner
from pipelines.plan.sets import PlanSet, Repetition, plan_set
from pipelines.workspace.settings import SampleSettings


@dataclass(frozen=True)
class OverDraws:
    """A number over independent draws, averaged over captions.

    Attributes:
        value: The mean.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DrawnSpread:
    """How varied sets of plans are, over draws that have nothing in common but the captions.

    Attributes:
        draws: How many sets of each caption were drawn.
        spread: Effective number of different z of the chosen plans.
        spread_of_first: The same for as many in drawing order.
        distinct2: Share of distinct pairs of words.
    """

    draws: int
    spread: OverDraws
    spread_of_first: OverDraws
    distinct2: OverDraws


def drawn_spread(
    found: FoundPlanner,
    settings: SampleSettings,
    sets: Sequence[PlanSet],
    pool: int | None,
    draws: int,
    progress: Progress,
) -> DrawnSpread:
    """Draw more sets of the same captions, with seeds 1, 2 … higher, and measure all of them.

    A draw's value is its mean over the captions, which stay the same; the interval is that of
    Student's t over the draws, so it tells what other draws would give, not other captions.

    Args:
        found: The planner.
        settings: n, and the seed of `sets`.
        sets: The first draw, one set a caption.
        pool: How many to choose from, as for `plan_set`.
        draws: Draws in all, at least 2.
        progress: Listener.

    Raises:
        KaleidoError: If there are too few draws, or the planner cannot give as many plans.
    """
    if draws < 2:
        hint = "Give --draws 5, or more."
        raise KaleidoError(f"--draws {draws}", "an interval takes two.", hint, code="bad-option")
    captions = [each.report.caption for each in sets]
    drawn = [[each.report.repetition for each in sets]]
    with progress.task("more draws", (draws - 1) * len(captions), "caption") as advance:
        for number in range(1, draws):
            seeded = replace(settings, seed=settings.seed + number)
            row = []
            for caption in captions:
                row.append(plan_set(found.planner, caption, seeded, pool).report.repetition)
                advance(1, found.note())
            drawn.append(row)

    def over(value: Callable[[Repetition], float]) -> OverDraws:
        return _interval([float(np.mean([value(each) for each in row])) for row in drawn])

    return DrawnSpread(
        draws,
        over(lambda each: each.spread),
        over(lambda each: each.spread_of_first),
        over(lambda each: each.distinct2),
    )


def _interval(values: Sequence[float]) -> OverDraws:
    mean = float(np.mean(values))
    reach = student(len(values) - 1) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return OverDraws(mean, mean - reach, mean + reach)
