"""Measure the pictures of folders, caption by caption, and how sure the differences are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.core.images import decode_image
from pipelines.core.student import student
from pipelines.core.text_measures import self_bleu, words
from pipelines.evaluate.adherence.colours import colour_fits
from pipelines.evaluate.adherence.palettes import palette_fits
from pipelines.evaluate.folders.read import Drawn
from pipelines.evaluate.metrics.diversity import mss, unit, vendi
from pipelines.evaluate.metrics.plain_features import plain_features, split
from pipelines.evaluate.metrics.statistics import Estimate, Interval, combine

Judge = Callable[[Sequence[Drawn]], dict[str, np.ndarray]]
"""The pictures of a caption -> ``objects``, (n,), and ``boxes``, (n, 2)."""

Network = Callable[[Sequence[np.ndarray]], np.ndarray]
"""uint8 pictures -> features, (n, d)."""

SMALL = 256
"""Longest side in pixels of pictures whose colours are compared: larger ones tell no more."""

NEAR = 0.05
"""Pictures of 8 by 8 pixels that differ by less, of a range of 2, root mean square, are copies."""

MANY = 8
"""With as many captions intervals are over captions, with fewer over the pictures of each."""


@dataclass(frozen=True)
class Group:
    """The scores of one caption's pictures.

    Attributes:
        count: Number of pictures.
        scores: By metric.
        without: By metric, the score without each picture in turn, (count,); none for what is not
            a smooth function of the pictures.
        shown: The first pictures, uint8 (height, width, 3).
    """

    count: int
    scores: Mapping[str, float]
    without: Mapping[str, np.ndarray]
    shown: Sequence[np.ndarray]


def measure_group(
    pictures: Sequence[Drawn],
    network: Network | None,
    text: np.ndarray | None,
    shown: int,
    judge: Judge | None = None,
) -> Group:
    """Measure the pictures of a caption.

    Args:
        pictures: At least two.
        network: Computes features; None for features without a network alone.
        text: Features of the caption in the same space, (d,), if the network reads text.
        shown: How many pictures are kept.
        judge: Looks for what caption and z ask for; None for nobody.

    Returns:
        ``vendi`` and ``mss`` in the network's features and in `plain_features`, ``repeats`` (share
        of pictures that have a near copy among the others), ``clip`` with `text`, ``palette`` and
        ``colours`` where z have them, with ``.resampled`` as a control (z of the next picture),
        ``objects`` and ``boxes`` by the judge, and ``prompts`` (share of different ones) with
        ``prompts.self_bleu4``.

    Raises:
        BadRecord: If a picture cannot be decoded.
    """
    images = [_picture(each.file) for each in pictures]
    small = [_reduced(image, SMALL) for image in images]
    rows: dict[str, np.ndarray] = {}
    if network is not None:
        rows["features"] = network(images)
        if text is not None:
            rows["clip"] = 100.0 * (unit(rows["features"]) @ unit(text)).clip(min=0.0)
    rows |= split(plain_features(small))  # type: ignore[arg-type]
    z = [each.z for each in pictures]
    rows["palette"] = palette_fits(z, small, ())[:, (0, 2)]  # type: ignore[arg-type]
    rows["colours"] = colour_fits(z, small, ())[:, :2]  # type: ignore[arg-type]
    if judge is not None:
        rows |= judge(pictures)
    everything = np.arange(len(images))
    scores, repeats = _scores(rows, everything), {"repeats": _repeats(rows["pixels"])}
    singly = [_scores(rows, np.delete(everything, index)) for index in everything]
    without = {name: np.array([each.get(name, math.nan) for each in singly]) for name in scores}
    more = repeats | _of_prompts(pictures)
    return Group(len(images), scores | more, without, images[:shown])


def _picture(file: Path) -> np.ndarray:
    """Read a picture; torch wants arrays that can be written to."""
    return np.array(decode_image(file.read_bytes(), str(file)))


def _scores(rows: Mapping[str, np.ndarray], chosen: np.ndarray) -> dict[str, float]:
    """Compute the scores of some of the pictures."""
    found: dict[str, float] = {}
    for space, suffix in (("features", ""), ("histogram", ".histogram"), ("pixels", ".pixels")):
        if space in rows:
            found[f"vendi{suffix}"] = vendi(rows[space][chosen])
            found[f"mss{suffix}"] = mss(rows[space][chosen]) if len(chosen) > 1 else math.nan
    for name in ("clip", "objects"):
        if name in rows and math.isfinite(mean := _mean(rows[name][chosen])):
            found[name] = mean
    for name in rows.keys() & {"palette", "colours", "boxes"}:
        own, resampled = (_mean(column) for column in rows[name][chosen].T)
        if math.isfinite(own):
            found |= {name: own, f"{name}.resampled": resampled}
    return found


def _repeats(pixels: np.ndarray) -> float:
    gaps = np.sqrt(((pixels[:, None] - pixels[None]) ** 2).mean(2))
    np.fill_diagonal(gaps, np.inf)
    return float((gaps.min(1) < NEAR).mean())


def _of_prompts(pictures: Sequence[Drawn]) -> dict[str, float]:
    prompts = [each.prompt for each in pictures]
    if not all(prompts):
        return {}
    return {
        "prompts": len(set(prompts)) / len(prompts),
        "prompts.self_bleu4": self_bleu([words(prompt) for prompt in prompts], 4),
    }


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def _reduced(image: np.ndarray, side: int) -> np.ndarray:
    picture = Image.fromarray(image)
    picture.thumbnail((side, side), Image.Resampling.BOX)
    return np.asarray(picture)


def score_interval(groups: Sequence[Group], metric: str) -> Interval:
    """Average a metric over captions, see `difference` for its interval."""
    if len(groups) >= MANY:
        return _estimate(groups, metric).interval()
    return _interval(_value(groups, metric), _variance(groups, metric), groups)


def difference(groups: Sequence[Group], against: Sequence[Group], metric: str) -> Interval:
    """Estimate how much a metric differs between two folders.

    With `MANY` captions the interval tells what other captions would give: captions are resampled,
    paired between the folders. With fewer it is for these captions alone, and tells what other
    pictures would give: a jackknife over the pictures of each caption, those of the folders taken
    as independent.

    Args:
        groups: Of one folder, a caption each.
        against: Of the other, the same captions.
        metric: The metric; both have it.
    """
    if len(groups) >= MANY:
        pair = (1.0, _estimate(groups, metric)), (-1.0, _estimate(against, metric))
        return combine(pair).interval()
    value = _value(groups, metric) - _value(against, metric)
    variance = _variance(groups, metric) + _variance(against, metric)
    return _interval(value, variance, [*groups, *against])


def _estimate(groups: Sequence[Group], metric: str) -> Estimate:
    return Estimate.mean_of(np.array([[each.scores.get(metric, math.nan)] for each in groups]))


def _value(groups: Sequence[Group], metric: str) -> float:
    return _mean(np.array([each.scores.get(metric, math.nan) for each in groups]))


def _variance(groups: Sequence[Group], metric: str) -> float:
    """Return the jackknife's variance of the mean over captions; NaN where there is none."""
    known = [each.without[metric] for each in groups if metric in each.without]
    parts = [((len(rows) - 1) ** 2 / len(rows)) * rows.var(ddof=1) for rows in known]
    return float(np.sum(parts)) / len(known) ** 2 if known else math.nan


def _interval(value: float, variance: float, groups: Sequence[Group]) -> Interval:
    freedom = sum(each.count - 1 for each in groups)
    reach = student(freedom) * math.sqrt(variance) if math.isfinite(variance) else math.nan
    return Interval(value, value - reach, value + reach)
