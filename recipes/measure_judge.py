"""Measure the judge's accuracy, which is the ceiling of scores for a model's samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pipelines.evaluate.observations import Verdict
from pipelines.latents.matching import iou
from pipelines.latents.text import GRID
from pipelines.scenes.judge import Judge
from recipes.examples_judge import Truth, draw_example


def measure(judge: Judge, seed: int, images: int) -> dict[str, float]:
    """Measure the judge on held-out renders from the data's distribution.

    Returns:
        ``box``: share of visible objects found at IoU >= 0.5 with any label; ``adherence``: the
        same with the right shape, as boxes are scored; ``shape``, ``colour``, ``texture``: share
        of right values among objects found; ``background`` and ``count``: share of images.
    """
    pixels, truths = zip(
        *(draw_example(seed, "judge-heldout", i, True) for i in range(images)), strict=True
    )
    verdicts = judge(np.stack(pixels))
    found = [pair for v, t in zip(verdicts, truths, strict=True) for pair in _match(v, t)]
    asked = sum(len(t.objects) for t in truths)
    right = {name: sum(pair[name] for pair in found) for name in ("shape", "colour", "texture")}
    whole = list(zip(verdicts, truths, strict=True))
    return {
        "box": len(found) / asked,
        "adherence": right["shape"] / asked,
        **{name: count / max(len(found), 1) for name, count in right.items()},
        "background": float(np.mean([v.background == t.background for v, t in whole])),
        "count": float(np.mean([len(v.objects) == len(t.objects) for v, t in whole])),
    }


def _match(verdict: Verdict, truth: Truth) -> Iterator[dict[str, bool]]:
    """Match greedily by descending IoU."""
    overlaps = [
        (iou(found.box, tuple(v * GRID for v in item[3])), i, j)
        for i, found in enumerate(verdict.objects)
        for j, item in enumerate(truth.objects)
    ]
    taken: tuple[set[int], set[int]] = (set(), set())
    for overlap, i, j in sorted(overlaps, reverse=True):
        if overlap >= 0.5 and i not in taken[0] and j not in taken[1]:
            taken[0].add(i)
            taken[1].add(j)
            shape, colour, texture, _ = truth.objects[j]
            found = verdict.objects[i]
            yield {
                "shape": found.label == shape,
                "colour": found.attributes["colour"] == colour,
                "texture": found.attributes["texture"] == texture,
            }
