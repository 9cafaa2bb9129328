"""Whether edits do what they say: the change is seen, and the rest of the picture stays."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.core.seeds import generator
from pipelines.documents import edit as edits
from pipelines.documents.document import Document
from pipelines.documents.element import Element
from pipelines.documents.projection import z_of
from pipelines.embedded.paths import embedded_path
from pipelines.evaluate.adherence.boxes import boxes_of, count_boxes
from pipelines.evaluate.metrics.statistics import Estimate, Interval, clustered, ratio
from pipelines.evaluate.observations import Verdict
from pipelines.latents.matching import IOU, best_pairs, iou
from pipelines.latents.sequence import z_from_text, z_to_text
from pipelines.latents.text import GRID
from pipelines.sample.bundle import Bundle, load_bundle
from pipelines.sample.draw import draw, draw_again, draw_from_z
from pipelines.sample.edit import DrawnSample
from pipelines.scenes.draw import RGB
from pipelines.scenes.factors import SIZE_JITTER, SIZES
from pipelines.scenes.heldout import fresh_captions
from pipelines.scenes.judge import Judge
from pipelines.scenes.reference import asked_shapes
from pipelines.workspace.settings import SampleSettings

KINDS = ("move", "resize", "resize_beyond", "remove", "recolour")
"""Kinds of edits; ``resize_beyond`` asks for sizes that no scene has."""

FACTORS = (0.65, 1.5)
"""Sizes that are tried; the boxes before and after then overlap by less than `IOU`."""

SIDES = (
    2 * (1 - SIZE_JITTER) * SIZES["small"][1],
    2 * (1 + SIZE_JITTER) * SIZES["large"][1],
)
"""The least and the greatest size of an object of a scene: the square root of its box's area."""

CLEAR = 0.05
"""Overlap with another element that a new place may have, at most."""

TRIES = 60
"""Random places that are tried for a move."""

MARGIN = 3
"""Pixels around an edited region that may change as well: edges are soft."""

Change = Callable[[Document], Document]


@dataclass(frozen=True)
class Edit:
    """One change of one sample.

    Attributes:
        kind: One of `KINDS`.
        number: The sample's number among those of its caption.
        old: The element before.
        document: The sample's document after the change.
        colour: The name of the new colour, of `recolour`.
    """

    kind: str
    number: int
    old: Element
    document: Document
    colour: str = ""

    @property
    def new(self) -> Element | None:
        """The element after the change; None if it was removed."""
        return next((e for e in self.document.elements or () if e.id == self.old.id), None)


@dataclass
class Cell:
    """What was measured of one caption under one seed; kind of edit to a value per edit."""

    seen: dict[str, list[float]]
    outside: dict[str, list[float]]
    found: float
    other_noise: float


def main() -> None:
    """Measure the embedded models and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=16, help="held-out captions")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("-n", type=int, default=2, help="samples per caption and seed")
    parser.add_argument("--steps", type=int, default=30, help="steps of the sampler")
    parser.add_argument("--z", help="kinds of z, with commas; by default the usual ones")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle = load_bundle()
    if options.z:
        bundle = bundle.drawing(options.z.split(","))
    judge = Judge.load(embedded_path("judge"))
    captions = fresh_captions(options.captions)
    settings = SampleSettings(n=options.n, steps=options.steps)
    print(json.dumps(measure(bundle, judge, captions, options.seeds, settings), indent=1))


def measure(
    bundle: Bundle,
    judge: Judge,
    captions: Sequence[str],
    seeds: Sequence[int],
    settings: SampleSettings,
) -> dict[str, Any]:
    """Draw samples, change each in every way that its picture allows, and draw it again.

    Args:
        bundle: The models.
        judge: Finds the objects of the pictures.
        captions: What to draw.
        seeds: Of the samples; each replaces the settings' seed.
        settings: How to draw, and how many samples per caption and seed.

    Returns:
        ``ceiling``: share of unedited boxes that the judge finds. By kind of edit, and for ``all``
        but ``resize_beyond``:
        ``edits``, their number; ``seen``, the share that the judge confirms; ``relative``, that
        share over the ceiling, but not for ``remove``, which counts only objects that were found
        before; ``outside``, the mean absolute change outside the edited region as a share of the
        range. ``other_noise`` is that change of the whole picture when its noise alone is another.
        Values are [mean, low, high] with 95 % intervals over captions and seeds.
    """
    options = [SampleSettings(**{**asdict(settings), "seed": seed}) for seed in seeds]
    cells = [[_cell(bundle, judge, caption, each) for each in options] for caption in captions]
    names = [" ".join(sorted(asked_shapes(caption).elements())) for caption in captions]

    def estimate(value: Callable[[Cell], float]) -> Estimate:
        table = np.array([[value(cell) for cell in row] for row in cells])
        return clustered({"": Estimate.mean_of(table)}, names)[""]

    ceiling = estimate(lambda cell: cell.found)
    result: dict[str, Any] = {
        "z": list(bundle.z_kinds),
        "captions": len(captions),
        "seeds": list(seeds),
        "n": settings.n,
        "steps": settings.steps,
        "ceiling": _numbers(ceiling.interval()),
        "other_noise": _numbers(estimate(lambda cell: cell.other_noise).interval()),
    }
    usual = tuple(kind for kind in KINDS if kind != "resize_beyond")
    for kind in (*KINDS, "all"):
        chosen = usual if kind == "all" else (kind,)
        seen = estimate(partial(_mean, "seen", chosen))
        part = {
            "edits": sum(len(cell.seen[k]) for row in cells for cell in row for k in chosen),
            "seen": _numbers(seen.interval()),
            "outside": _numbers(estimate(partial(_mean, "outside", chosen)).interval()),
        }
        if kind != "remove":
            part["relative"] = _numbers(ratio(seen, ceiling))
        result[kind] = part
    return result


def edits_of(
    sample: DrawnSample, verdict: Verdict, number: int, rng: np.random.Generator
) -> Iterator[Edit]:
    """Choose one element for each kind of edit, and change it.

    A kind of edit is left out where the picture has no room for it, or where the judge sees nothing
    to remove.
    """
    document = sample.document
    placed = [element for element in document.elements or () if element.box is not None]
    for kind in KINDS:
        for index in rng.permutation(len(placed)):
            element = placed[index]
            if kind == "recolour":
                here = {item.attributes["colour"] for item in verdict.objects}
                colour = str(rng.choice([name for name in RGB if name not in here]))
                target = "#{:02X}{:02X}{:02X}".format(*RGB[colour])
                present = sample.colour_of(element.id)
                changed = edits.recolour(document, element.id, target, present)
                yield Edit(kind, number, element, changed, colour)
                break
            if kind == "remove":
                edit = Edit(kind, number, element, edits.remove(document, element.id))
                if not confirms(edit, verdict):
                    yield edit
                    break
                continue
            for change in _places(kind, element, rng):
                edit = Edit(kind, number, element, change(document))
                if _has_room(edit):
                    yield edit
                    break
            else:
                continue
            break


def confirms(edit: Edit, verdict: Verdict) -> bool:
    """Return whether a picture shows an edit.

    The element is found at its new place with its label, nothing of its label is left at the old
    place, and it has its new colour. Objects that belong to other elements do not count.
    """
    boxes = [element for element in edit.document.elements or () if element.box is not None]
    overlaps = np.array(
        [
            [iou(_grid(e), o.box) if e.label == o.label else 0.0 for o in verdict.objects]
            for e in boxes
        ]
    ).reshape(len(boxes), len(verdict.objects))
    pairs = dict(best_pairs(overlaps))
    rest = [o for column, o in enumerate(verdict.objects) if column not in pairs.values()]
    if any(o.label == edit.old.label and iou(_grid(edit.old), o.box) >= IOU for o in rest):
        return False
    if edit.new is None:
        return True
    column = pairs.get(boxes.index(edit.new))
    if column is None:
        return False
    return not edit.colour or verdict.objects[column].attributes["colour"] == edit.colour


def change_outside(edit: Edit, before: np.ndarray, after: np.ndarray) -> float:
    """Return the mean absolute change outside the old and the new box, in [0, 1].

    Args:
        edit: The change; `MARGIN` pixels around its boxes belong to the edited region.
        before: uint8 (height, width, 3).
        after: The same.
    """
    height, width = before.shape[:2]
    outside = np.ones((height, width), bool)
    for element in (edit.old, edit.new):
        if element is not None and element.box is not None:
            x1, y1, x2, y2 = np.multiply(element.box, (width, height) * 2)
            top, left = max(0, int(y1) - MARGIN), max(0, int(x1) - MARGIN)
            outside[top : int(np.ceil(y2)) + MARGIN, left : int(np.ceil(x2)) + MARGIN] = False
    return _difference(before[outside], after[outside])


def _cell(bundle: Bundle, judge: Judge, caption: str, settings: SampleSettings) -> Cell:
    before = list(draw(bundle, caption, settings))
    pixels = np.stack([sample.pixels for sample in before])
    texts = [sample.z for sample in before]
    verdicts = judge(pixels)
    chosen: list[Edit] = []
    for number, (sample, verdict) in enumerate(zip(before, verdicts, strict=True)):
        row = {"z": sample.z, "caption": caption}
        rng = generator(settings.seed, "measure edits", f"{number}:{caption}")
        chosen += edits_of(DrawnSample(Path(), row, sample.pixels), verdict, number, rng)
    edited = [
        z_to_text(z_of(edit.document, tuple(z_from_text(texts[edit.number])))[0]) for edit in chosen
    ]
    after = draw_from_z(bundle, caption, edited, settings, [edit.number for edit in chosen])
    drawn = np.stack([sample.pixels for sample in after])
    cell = Cell(
        {kind: [] for kind in KINDS},
        {kind: [] for kind in KINDS},
        float(
            np.mean(
                [
                    count_boxes(boxes_of(text), verdict.objects).share
                    for text, verdict in zip(texts, verdicts, strict=True)
                ]
            )
        ),
        _difference(pixels, draw_again(bundle, caption, texts, settings)),
    )
    for edit, picture, verdict in zip(chosen, drawn, judge(drawn), strict=True):
        cell.seen[edit.kind].append(float(confirms(edit, verdict)))
        cell.outside[edit.kind].append(change_outside(edit, pixels[edit.number], picture))
    return cell


def _places(kind: str, element: Element, rng: np.random.Generator) -> Iterator[Change]:
    if kind.startswith("resize"):
        for factor in rng.permutation(FACTORS):
            yield partial(edits.resize, name=element.id, factor=float(factor))
        return
    for dx, dy in rng.integers(-GRID // 2, GRID // 2, (TRIES, 2)):
        yield partial(edits.move, name=element.id, dx=int(dx), dy=int(dy))


def _has_room(edit: Edit) -> bool:
    """Return whether the new place is another one, and free, and the size of the edit's kind."""
    new = edit.new
    assert new is not None and new.box is not None  # it was moved or resized
    side = ((new.box[2] - new.box[0]) * (new.box[3] - new.box[1])) ** 0.5
    if edit.kind.startswith("resize") and (SIDES[0] <= side <= SIDES[1]) != (edit.kind == "resize"):
        return False
    others = [e for e in edit.document.elements or () if e.id != new.id and e.box is not None]
    apart = CLEAR if edit.kind == "move" else IOU
    return iou(_grid(edit.old), _grid(new)) < apart and all(
        iou(_grid(other), _grid(new)) <= CLEAR for other in others
    )


def _grid(element: Element) -> tuple[float, ...]:
    return tuple(value * GRID for value in element.box or ())


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(np.float64) - second).mean() / 255)


def _mean(name: str, kinds: Sequence[str], cell: Cell) -> float:
    values = [value for kind in kinds for value in getattr(cell, name)[kind]]
    return float(np.mean(values)) if values else float("nan")


def _numbers(interval: Interval) -> list[float]:
    return [round(value, 4) for value in (interval.value, interval.low, interval.high)]


if __name__ == "__main__":
    main()
