"""What the judge sees in folders of `kaleido sample`: captions kept, diversity, colours, boxes.

``python -m recipes.measure_folders FOLDER FOLDER …`` compares each with the first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL

from pipelines.core.images import decode_image
from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.adherence.boxes import boxes_of, count_boxes
from pipelines.evaluate.folders.read import Drawn, read_picture_folder
from pipelines.evaluate.metrics.diversity import vendi
from pipelines.evaluate.metrics.statistics import Estimate, Interval, combine, ratio
from pipelines.models.pixels import to_pixels
from pipelines.scenes.judge import Judge
from pipelines.scenes.modes import matches, mode_entropy
from pipelines.scenes.oracle import factor_values
from pipelines.scenes.reference import Asked, reference_scenes, scene_images
from recipes.small_scenes import SIDE, pixels_of

MEASURES = ("kept", "vendi", "vendi.kept", "colours", "boxes", "boxes.next")
LONGEST = 600
"""Characters of a caption that are read."""


def main() -> None:
    """Measure folders and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--base", type=Path, help="real pictures pass through its autoencoder")
    options = parser.parse_args()
    torch.set_num_threads(1)
    judge = Judge.load(embedded_path("judge"))
    vae = AutoencoderKL.from_pretrained(options.base / "vae") if options.base else None
    print(json.dumps(measure(judge, options.folders, vae), indent=1))


def measure(
    judge: Judge, folders: Sequence[Path], vae: AutoencoderKL | None = None
) -> dict[str, Any]:
    """Measure folders that hold pictures of the same captions.

    Args:
        judge: Finds objects, and gives the features of the Vendi score.
        folders: As `kaleido sample` wrote them.
        vae: Encodes and decodes the real pictures: no picture of its base can be better.

    Returns:
        By folder, and for as many ``real`` scenes: measure -> [value, low, high], with 95 %
        intervals over combinations of shapes: the share of pictures that show exactly what the
        caption says (``kept``), Vendi scores of all and of these, the entropy in nats of the
        colours in these, and the share of z's boxes that are found, and of the next picture's z.
        For all but the first also ``MEASURE.difference`` and ``MEASURE.ratio`` to the first.
    """
    read = [read_picture_folder(path, path.name, LONGEST).groups for path in folders]
    captions = list(read[0])
    clusters = [" ".join(sorted(Asked.by(caption).shapes.elements())) for caption in captions]
    found = {
        path.name: _estimates([_of_drawn(judge, c, groups[c]) for c in captions], clusters)
        for path, groups in zip(folders, read, strict=True)
    }
    count = len(read[0][captions[0]])
    real = [_of_pictures(judge, c, _real(c, count, vae), ()) for c in captions]
    found["real"] = _estimates(real, clusters)
    first = found[folders[0].name]
    return {name: _row(each, None if each is first else first) for name, each in found.items()}


@torch.no_grad()
def _real(caption: str, count: int, vae: AutoencoderKL | None) -> np.ndarray:
    scenes = reference_scenes(caption, count, 0, "reference")
    if vae is None:
        return scene_images(scenes, SIDE)
    latents = vae.encode(pixels_of(scenes)).latent_dist.mode()
    return np.stack(list(to_pixels(vae.decode(latents).sample)))


def _of_drawn(judge: Judge, caption: str, drawn: Sequence[Drawn]) -> list[float]:
    pictures = [np.array(decode_image(each.file.read_bytes(), str(each.file))) for each in drawn]
    return _of_pictures(judge, caption, np.stack(pictures), [each.z for each in drawn])


def _of_pictures(judge: Judge, caption: str, pictures: np.ndarray, z: Sequence[str]) -> list[float]:
    """Measure the pictures of a caption, in the order of `MEASURES`."""
    features, verdicts = judge.inspect(pictures)
    asked = Asked.by(caption)
    fits = np.array([matches(verdict, asked) for verdict in verdicts])
    kept = [verdict for verdict, fit in zip(verdicts, fits, strict=True) if fit]

    def shown(texts: Sequence[str]) -> float:
        pairs = zip(texts, verdicts, strict=True)
        parts = [count_boxes(boxes_of(text), verdict.objects) for text, verdict in pairs]
        return float(np.mean([part.share for part in parts]))

    has_boxes = any(boxes_of(text) for text in z)
    return [
        float(fits.mean()),
        vendi(features),
        vendi(features[fits]) if len(kept) > 1 else float("nan"),
        mode_entropy(factor_values(kept, asked, "colour")) if len(kept) > 1 else float("nan"),
        shown(z) if has_boxes else float("nan"),
        shown([*z[1:], *z[:1]]) if has_boxes else float("nan"),
    ]


def _estimates(rows: Sequence[Sequence[float]], clusters: Sequence[str]) -> dict[str, Estimate]:
    table = np.array(rows)
    found = {}
    for column, name in enumerate(MEASURES):
        values = table[:, column, None]
        if np.isfinite(values).any():
            found[name] = Estimate(float(np.nanmean(values)), values, clusters=tuple(clusters))
    return found


def _row(
    found: Mapping[str, Estimate], first: Mapping[str, Estimate] | None
) -> dict[str, list[float]]:
    row = {name: _numbers(each.interval()) for name, each in found.items()}
    if first is None:
        return row
    for name in found.keys() & first.keys():
        pair = [(1.0, found[name]), (-1.0, first[name])]
        row[f"{name}.difference"] = _numbers(combine(pair).interval())
        row[f"{name}.ratio"] = _numbers(ratio(found[name], first[name]))
    return row


def _numbers(interval: Interval) -> list[float]:
    return [round(value, 4) for value in (interval.value, interval.low, interval.high)]


if __name__ == "__main__":
    main()
