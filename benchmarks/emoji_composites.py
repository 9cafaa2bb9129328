"""Measure detectors on real drawings at known positions: emoji pasted on backgrounds.

The alpha channel of an emoji is the ground truth of box and mask. Labels are not compared, because
an emoji's name is seldom a class of the detector: a detection is correct if its box has an IoU of
0.5 with a drawing. The embedded detector, which knows only scenes, is measured beside those named:
`python benchmarks/emoji_composites.py owlv2-folder --find "a drawing"`. Packages are fetched once.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

from pipelines.core.batches import in_batches
from pipelines.core.contact_sheet import contact_sheet
from pipelines.core.masks import around
from pipelines.core.seeds import generator
from pipelines.data.emoji.drawings import LABELS, STYLES, Drawing, read_drawings
from pipelines.embedded.paths import embedded_path
from pipelines.extract.blobs import to_blob
from pipelines.extract.boxes import to_boxes
from pipelines.extract.detectors.base import Detections
from pipelines.extract.detectors.find import find_detector, load_detector
from pipelines.extract.ellipse import fit_ellipses, overlap
from pipelines.latents.blobs import Blobs
from pipelines.latents.matching import iou
from recipes.measure_detector import average_precision

SIDE, BATCH, CONFIDENCE, MOST, SHOWN, SURE = 256, 16, 0.05, 15, 12, 0.25
LEAST_VISIBLE = 0.25
"""Visible share below which a drawing covered by others does not count."""


@dataclass(frozen=True)
class Composite:
    """A picture (SIDE, SIDE, 3), and the visible masks of its k drawings, bool (k, SIDE, SIDE)."""

    pixels: np.ndarray
    masks: np.ndarray
    caption: str


def main() -> None:
    """Print a table, and write some pictures with the detections drawn over them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="folders or names of detectors")
    parser.add_argument(
        "--find", default="", help="comma-separated phrases for open-vocabulary detectors"
    )
    parser.add_argument("--composites", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=Path("runs/emoji"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    drawings = read_drawings(options.folder, LABELS, STYLES)
    pictures = [compose(drawings, index) for index in range(options.composites)]
    truths = sum(len(picture.masks) for picture in pictures)
    print(f"{truths} drawings in {len(pictures)} pictures\n")
    print("| detector | AP50, any label | found | mask IoU | ellipse IoU |")
    print("|---|---:|---:|---:|---:|")
    for name in (str(embedded_path("detector")), *options.models):
        found = detect(name, options.find, pictures)
        print(f"| {Path(name).name} | {' | '.join(score(pictures, found))} |")
        shown = zip(pictures[:SHOWN], found[:SHOWN], strict=True)
        sheet = contact_sheet([(Path(name).name, [overlaid(*pair) for pair in shown])], 4)
        Image.fromarray(sheet).save(options.folder / f"{Path(name).name}.png")


def compose(drawings: Sequence[Drawing], index: int) -> Composite:
    """Paste one to four drawings on a background, each wholly inside it."""
    rng = generator(0, "emoji composite", str(index))
    low, high = np.sort(rng.integers(0, 256, (2, 3)), axis=0)
    ramp = np.linspace(0.0, 1.0, SIDE)[:, None, None]
    canvas = np.broadcast_to(low + (high - low) * ramp, (SIDE, SIDE, 3)).copy()
    masks: list[np.ndarray] = []
    areas: list[int] = []
    chosen = [drawings[int(i)] for i in rng.integers(len(drawings), size=rng.integers(1, 5))]
    for drawing in chosen:
        size = int(rng.integers(SIDE // 5, SIDE // 2))
        top, left = rng.integers(0, SIDE - size, 2)
        part = slice(top, top + size), slice(left, left + size)
        drawn = rgba(drawing.svg, size)
        alpha = drawn[..., 3:] / 255.0
        canvas[part] = canvas[part] * (1.0 - alpha) + drawn[..., :3] * alpha
        mask = np.zeros((SIDE, SIDE), dtype=bool)
        mask[part] = alpha[..., 0] >= 0.5
        masks = [*(below & ~mask for below in masks), mask]
        areas.append(int(mask.sum()))
    seen = [m for m, area in zip(masks, areas, strict=True) if m.sum() > LEAST_VISIBLE * area]
    caption = " and ".join(drawing.concept.label for drawing in chosen)
    return Composite(canvas.astype(np.uint8), np.array(seen), caption)


def rgba(svg: str, size: int) -> np.ndarray:
    """Render an SVG on a transparent background: uint8 (size, size, 4)."""
    data = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    image = Image.open(io.BytesIO(data), formats=["PNG"]).convert("RGBA")
    return np.asarray(image.resize((size, size)))


def detect(name: str, find: str, pictures: Sequence[Composite]) -> list[Detections]:
    """Run a detector over all pictures."""
    prompts = tuple(word.strip() for word in find.split(",") if word.strip())
    embedded = name == str(embedded_path("detector"))
    backend = load_detector(find_detector(name, () if embedded else prompts), CONFIDENCE, MOST)
    return [
        found
        for part in in_batches(pictures, BATCH)
        for found in backend.predict([p.pixels for p in part], [p.caption for p in part])
    ]


def score(pictures: Sequence[Composite], found: Sequence[Detections]) -> Iterator[str]:
    """Return the cells of a detector's row."""
    ranked: list[tuple[float, bool]] = []
    masks: list[float] = []
    ellipses: list[float] = []
    for picture, detections in zip(pictures, found, strict=True):
        pairs = match(picture, detections)
        ranked += [(float(s), i in pairs) for i, s in enumerate(detections.scores)]
        if pairs and detections.masks is not None:
            drawn, truths = detections.masks[list(pairs)], picture.masks[list(pairs.values())]
            sure = drawn >= 0.5
            masks += ((sure & truths).sum((1, 2)) / (sure | truths).sum((1, 2))).tolist()
            full = sure.any((1, 2))
            ellipses += overlap(fit_ellipses(drawn[full]), truths[full].astype(float)).tolist()
    truths = sum(len(picture.masks) for picture in pictures)
    hits = [hit for _, hit in sorted(ranked, key=lambda row: -row[0])]
    yield f"{average_precision(hits, truths):.3f}"
    yield f"{sum(hits) / truths:.3f}"
    yield f"{np.mean(masks):.3f}" if masks else "no masks"
    yield f"{np.mean(ellipses):.3f}" if ellipses else "no masks"


def match(picture: Composite, detections: Detections) -> dict[int, int]:
    """Match detections to drawings at a box IoU of 0.5, the most certain first."""
    free = {index: around(mask) for index, mask in enumerate(picture.masks)}
    pairs = {}
    for index, box in enumerate(detections.boxes):
        ious = {other: iou(tuple(box), truth) for other, truth in free.items()}
        best = max(ious, key=lambda other: ious[other], default=None)
        if best is not None and ious[best] >= 0.5:
            pairs[index] = best
            del free[best]
    return pairs


def overlaid(picture: Composite, detections: Detections) -> np.ndarray:
    """Draw the certain detections over a picture: ellipses, or boxes if there are no masks."""
    sure = detections.take(np.flatnonzero(detections.scores >= SURE).tolist())
    if not sure.labels:
        return picture.pixels
    if sure.masks is None:
        return to_boxes(sure, picture.pixels.shape).draw(picture.pixels)
    sure = sure.take(np.flatnonzero((sure.masks >= 0.5).any((1, 2))).tolist())
    rows = zip(sure.labels, fit_ellipses(sure.masks), strict=True)
    return Blobs(tuple(to_blob(*row, SIDE) for row in rows)).draw(picture.pixels)


if __name__ == "__main__":
    main()
