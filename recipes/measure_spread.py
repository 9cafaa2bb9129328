"""What choosing varied z gains and costs: `--diverse` against as many z as they come."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.adherence.boxes import agrees
from pipelines.evaluate.metrics.diversity import vendi
from pipelines.evaluate.metrics.statistics import Estimate, Interval, combine, ratio
from pipelines.latents.sequence import z_from_text
from pipelines.plan.plan import Plan, plan
from pipelines.plan.similarity import similarity
from pipelines.plan.spread import effective_number
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.draw import draw_from_z
from pipelines.scenes.heldout import fresh_captions
from pipelines.scenes.judge import Judge
from pipelines.scenes.modes import matches
from pipelines.scenes.reference import Asked
from pipelines.workspace.settings import SampleSettings

MEASURES = ("vendi", "spread", "nats", "kept_by_z", "kept_by_pictures")


def main() -> None:
    """Measure the embedded models and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=16, help="held-out captions")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("-n", type=int, default=8, help="samples per caption and seed")
    parser.add_argument("--pool", type=int, default=64, help="z to choose from")
    parser.add_argument("--steps", type=int, default=30, help="steps of the sampler")
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge = Judge.load(embedded_path("judge"))
    captions = fresh_captions(options.captions)
    settings = SampleSettings(n=options.n, steps=options.steps)
    found = measure(load_bundle(), judge, captions, options.seeds, settings, options.pool)
    print(json.dumps(found, indent=1))


def measure(
    bundle: Bundle,
    judge: Judge,
    captions: Sequence[str],
    seeds: Sequence[int],
    settings: SampleSettings,
    pool: int,
) -> dict[str, Any]:
    """Draw the chosen z and the first ones of each caption, and compare the two sets.

    Args:
        bundle: The models.
        judge: Its features measure the diversity; what it finds, whether captions are kept.
        captions: What to draw.
        seeds: Each replaces the settings' seed.
        settings: How to draw, and how many pictures of each set.
        pool: How many z are drawn to choose from.

    Returns:
        By measure: ``chosen`` and ``first``, their ``difference``, and for ``vendi`` and
        ``spread`` their ``ratio``, each [value, low, high] with 95 % intervals over captions and
        seeds. ``vendi`` is that of the pictures, ``spread`` that of z, ``nats`` the mean of the
        tokens of z, the last two the shares of z and of pictures that show what the caption says.
    """
    table = np.full((len(MEASURES), 2, len(captions), len(seeds)), np.nan)
    for row, caption in enumerate(captions):
        for column, seed in enumerate(seeds):
            options = SampleSettings(**{**asdict(settings), "seed": seed})
            table[:, :, row, column] = _cell(bundle, judge, caption, options, pool).T
    names = tuple(" ".join(sorted(Asked.by(caption).shapes.elements())) for caption in captions)
    result: dict[str, Any] = {
        "captions": len(captions),
        "seeds": list(seeds),
        "n": settings.n,
        "pool": pool,
        "steps": settings.steps,
        "judge": judge.name,
    }
    for name, pair in zip(MEASURES, table, strict=True):
        chosen, first = (Estimate(float(part.mean()), part, clusters=names) for part in pair)
        result[name] = {
            "chosen": _numbers(chosen.interval()),
            "first": _numbers(first.interval()),
            "difference": _numbers(combine([(1.0, chosen), (-1.0, first)]).interval()),
        }
        if name in ("vendi", "spread"):
            result[name]["ratio"] = _numbers(ratio(chosen, first))
    return result


def _cell(
    bundle: Bundle, judge: Judge, caption: str, settings: SampleSettings, pool: int
) -> np.ndarray:
    """Measure the chosen and the first z of a caption: (2, measures)."""
    chosen, _ = plan(bundle.prior, caption, bundle.z_kinds, settings, pool)
    first, _ = plan(bundle.prior, caption, bundle.z_kinds, settings)
    # A z that is in both sets is drawn once.
    plans = {each.index: each for each in (*chosen, *first)}
    texts = [each.z for each in plans.values()]
    drawn = draw_from_z(bundle, caption, texts, settings, list(plans))
    pictures = dict(zip(plans, (sample.pixels for sample in drawn), strict=True))
    return np.array([_measures(judge, caption, part, pictures) for part in (chosen, first)])


def _measures(
    judge: Judge, caption: str, plans: Sequence[Plan], pictures: dict[int, np.ndarray]
) -> list[float]:
    features, verdicts = judge.inspect(np.stack([pictures[each.index] for each in plans]))
    asked = Asked.by(caption)
    return [
        vendi(features),
        effective_number(similarity([z_from_text(each.z) for each in plans])),
        float(np.mean([each.nats for each in plans])),
        float(np.mean([agrees(each.z, asked.shapes) for each in plans])),
        float(np.mean([matches(verdict, asked) for verdict in verdicts])),
    ]


def _numbers(interval: Interval) -> list[float]:
    return [round(value, 4) for value in (interval.value, interval.low, interval.high)]


if __name__ == "__main__":
    main()
