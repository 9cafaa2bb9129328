"""Whether what is required of z is in z and in the pictures, and what ``--verify`` redraws."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.core.images import decode_image
from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.observations import Verdict
from pipelines.latents.sequence import z_from_text
from pipelines.latents.text import GRID
from pipelines.plan.verified import sample_verified
from pipelines.sample.control import Control
from pipelines.sample.requirements import Requirements, broken, read_requirements
from pipelines.scenes.factors import Scene
from pipelines.scenes.heldout import fresh_captions
from pipelines.scenes.judge import Judge
from pipelines.scenes.reference import (
    asked_shapes,
    reference_scenes,
    scene_images,
    stated_colours,
)
from pipelines.workspace.config import override
from pipelines.workspace.settings import Settings
from pipelines.workspace.workspace import Workspace

REQUIRED = ("circle.colour=blue", "star@left", "square.colour=orange")
"""Each is measured alone, with captions that name its shape."""

SEARCHED = 400
"""Held-out captions among which those are looked for."""

REAL = 64
"""Real scenes of each caption, of which those count that hold what is required."""

Object = tuple[str, str, tuple[int, int]]
"""Label, colour, and centre in half grid units."""


def main() -> None:
    """Measure the embedded models and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--require", nargs="+", default=REQUIRED, help="each measured alone")
    parser.add_argument("--captions", type=int, default=8, help="held-out captions of each")
    parser.add_argument("-n", type=int, default=8, help="pictures of each caption")
    parser.add_argument("--redraws", type=int, default=2, help="as of --verify")
    parser.add_argument("--cfg", type=float, default=7.5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    changes = {"sample.n": options.n, "sample.cfg": options.cfg}
    found = {
        text: measure(text, options.captions, override(Settings(), changes), options.redraws)
        for text in options.require
    }
    print(json.dumps(found, indent=1))


def measure(text: str, captions: int, settings: Settings, redraws: int) -> dict[str, Any]:
    """Draw pictures with one requirement, as `kaleido sample --require --verify` does.

    Args:
        text: The requirement, of colours or places of objects.
        captions: How many captions.
        settings: How to draw.
        redraws: How often a picture may be drawn again.

    Returns:
        ``z``, share of z that hold it; ``at_once`` and ``verified``, share of pictures in which
        the detector finds it at the first try and in the end; ``tries``, pictures drawn for each;
        ``judge``, share of the pictures that are kept in which the judge finds it; ``ceiling``,
        the same of real scenes that hold it; ``of_ceiling``, their ratio.
    """
    wanted = read_requirements([text], [])
    asked = list(_naming(wanted, captions))
    judge = Judge.load(embedded_path("judge"))
    with tempfile.TemporaryDirectory() as folder:
        workspace = replace(Workspace.init(Path(folder) / "ws"), settings=settings)
        summary = sample_verified(workspace, asked, Control(wanted), redraws)
        lines = (summary.folder / "samples.jsonl").read_text("utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        pictures = np.stack(
            [decode_image((summary.folder / row["file"]).read_bytes()) for row in rows]
        )
    kept = np.mean([_holds(wanted, _found(verdict)) for verdict in judge(pictures)])
    ceiling = _ceiling(judge, wanted, asked)
    return {
        "pictures": summary.samples,
        "z": float(np.mean([not broken(wanted, z_from_text(row["z"])) for row in rows])),
        "at_once": summary.at_once / summary.samples,
        "verified": summary.verified / summary.samples,
        "tries": summary.tries / summary.samples,
        "judge": float(kept),
        "ceiling": ceiling,
        "of_ceiling": float(kept) / ceiling,
    }


def _naming(wanted: Requirements, count: int) -> Iterator[str]:
    """Return held-out captions that name the shapes which are required, and no colour."""
    labels = {label for label, _ in (*wanted.objects.needs, *wanted.colours)}
    for caption in fresh_captions(SEARCHED):
        if count and labels <= asked_shapes(caption).keys() and not stated_colours(caption):
            count -= 1
            yield caption


def _ceiling(judge: Judge, wanted: Requirements, captions: Sequence[str]) -> float:
    """Return in how many real scenes that hold what is required the judge finds it."""
    scenes = [each for text in captions for each in reference_scenes(text, REAL, 0, "reference")]
    holding = [scene for scene in scenes if _holds(wanted, _true(scene))]
    verdicts = judge(scene_images(holding, judge.config.size))
    return float(np.mean([_holds(wanted, _found(verdict)) for verdict in verdicts]))


def _holds(wanted: Requirements, objects: Sequence[Object]) -> bool:
    labels, centres = [label for label, _, _ in objects], [centre for _, _, centre in objects]
    coloured = {(label, colour) for label, colour, _ in objects}
    return wanted.objects.holds(labels, centres) and coloured >= set(wanted.colours)


def _found(verdict: Verdict) -> list[Object]:
    return [
        (
            each.label,
            each.attributes["colour"],
            (each.box[0] + each.box[2], each.box[1] + each.box[3]),
        )
        for each in verdict.objects
    ]


def _true(scene: Scene) -> list[Object]:
    return [
        (each.shape, each.colour, (round(2 * GRID * each.x), round(2 * GRID * each.y)))
        for each in scene.objects
    ]


if __name__ == "__main__":
    main()
