"""What fewer steps and another sampler cost: the same z and noise, drawn in several ways."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from time import process_time
from typing import Any

import numpy as np
import torch

from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.metrics.diversity import vendi
from pipelines.evaluate.metrics.statistics import Estimate
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.draw import draw, draw_from_z
from pipelines.scenes.heldout import fresh_captions
from pipelines.scenes.judge import Judge
from pipelines.scenes.modes import matches
from pipelines.scenes.reference import Asked
from pipelines.workspace.settings import SampleSettings

WAYS = ("euler:30", "euler:20", "euler:16", "euler:12")


def main() -> None:
    """Measure the embedded models and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=16, help="held-out captions")
    parser.add_argument("-n", type=int, default=4, help="samples per caption")
    parser.add_argument("ways", nargs="*", default=WAYS, help="SAMPLER:STEPS, from the best on")
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge, captions = Judge.load(embedded_path("judge")), fresh_captions(options.captions)
    bundle = load_bundle(embedded=True)
    print(json.dumps(measure(bundle, judge, captions, options.n, options.ways), indent=1))


def measure(
    bundle: Bundle, judge: Judge, captions: Sequence[str], n: int, ways: Sequence[str]
) -> dict[str, Any]:
    """Draw the same z from the same noise in each way.

    Args:
        bundle: The models.
        judge: Says whether a picture keeps its caption, and gives its features.
        captions: What to draw.
        n: Samples per caption.
        ways: Samplers and steps, ``euler:30``; pictures are compared with those of the first.

    Returns:
        By way: the share of pictures that keep their caption and the Vendi score, both with their
        95 % interval over captions, CPU seconds per caption, and the mean difference from the
        first way's pictures in levels of 255.
    """
    rows: dict[str, list[list[float]]] = {way: [] for way in ways}
    for caption in captions:
        asked, z, first = Asked.by(caption), None, None
        for way in ways:
            sampler, _, steps = way.partition(":")
            settings = replace(SampleSettings(), n=n, sampler=sampler, steps=int(steps))
            z = z or [sample.z for sample in draw(bundle, caption, replace(settings, steps=1))]
            begun = process_time()
            drawn = list(draw_from_z(bundle, caption, z, settings))
            seconds = process_time() - begun
            pixels = np.stack([sample.pixels for sample in drawn]).astype(int)
            first = pixels if first is None else first
            features, verdicts = judge.inspect(pixels.astype(np.uint8))
            kept = np.mean([matches(verdict, asked) for verdict in verdicts])
            apart = np.abs(pixels - first).mean()
            rows[way].append([float(kept), vendi(features), seconds, float(apart)])
    return {way: _summary(np.array(values)) for way, values in rows.items()}


def _summary(values: np.ndarray) -> dict[str, Any]:
    kept, diversity = (Estimate.mean_of(values[:, column, None]).interval() for column in (0, 1))
    return {
        "kept": [kept.value, kept.low, kept.high],
        "vendi": [diversity.value, diversity.low, diversity.high],
        "seconds": float(values[:, 2].mean()),
        "levels": float(values[:, 3].mean()),
    }
