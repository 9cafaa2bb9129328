"""The comparison of folders of pictures as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from pipelines.evaluate.metrics.statistics import Interval
from pipelines.evaluate.report.contents import number
from pipelines.evaluate.report.document import render_template
from pipelines.evaluate.report.page import strip_of
from pipelines.evaluate.report.titles import TITLES

SIDE = 128
"""Side in pixels of a picture on the page."""

CAPTIONS = 12
"""Captions whose pictures are shown."""

OWN_TITLES = {
    "objects": (
        "Caption kept",
        "share of pictures in which the detector finds what the caption names, in its numbers",
    ),
    "repeats": ("Near copies", "share of pictures that another of the caption nearly equals"),
    "prompts": ("Different prompts", "share of a caption's prompts"),
    "prompts.self_bleu4": ("Prompts: self-BLEU-4", "likeness of a caption's prompts; 1: all alike"),
}

KEPT = {
    "clip": "the CLIP score",
    "objects": "the share of pictures with the objects that the caption names",
}
"""Metric of how well pictures keep to the caption -> its name in a sentence."""

PLAIN = ("vendi.histogram", "vendi.pixels")


@dataclass(frozen=True)
class FoldersReport:
    """Everything that the page shows.

    Attributes:
        names: Names of the folders, the one to compare with first.
        folders: Their paths, as they were given.
        captions: Captions that are compared -> pictures of each.
        features: Name of the feature network; empty without one.
        scores: Folder -> metric -> value, and difference from the first folder.
        warnings: Reasons to trust the numbers less.
        shown: Caption -> folder and its first pictures.
        command: What makes this page again.
    """

    names: Sequence[str]
    folders: Sequence[str]
    captions: Mapping[str, int]
    features: str
    scores: Mapping[str, Mapping[str, tuple[Interval, Interval | None]]]
    warnings: list[str]
    shown: Mapping[str, Sequence[tuple[str, Sequence[np.ndarray]]]]
    command: str

    @property
    def pictures(self) -> str:
        """Pictures of a caption, in words."""
        low, high = min(self.captions.values()), max(self.captions.values())
        return str(low) if low == high else f"{low} to {high}"


def answers(report: FoldersReport) -> list[str]:
    """Say for each folder after the first whether it is more varied, from the intervals alone.

    Without a feature network both plain spaces must agree.
    """
    return [_answer(report, name) for name in report.names[1:]]


def _answer(report: FoldersReport, name: str) -> str:
    first, scores = report.names[0], report.scores
    metrics = ("vendi",) if report.features else PLAIN
    changes = [change for m in metrics if (change := scores[name][m][1]) is not None]
    if all(change.low > 0 for change in changes):
        verdict = f"Yes: {name} is more varied than {first}."
    elif all(change.high < 0 for change in changes):
        verdict = f"No: {name} is less varied than {first}."
    else:
        verdict = f"Not shown: {name} may be as varied as {first}."
    sentences = [verdict, *(_in_words(report, name, metric) for metric in metrics)]
    for metric, words in KEPT.items():
        if metric in scores[name]:
            sentences.append(_of_captions(scores[name][metric][1], words))
    return " ".join(sentences)


def _in_words(report: FoldersReport, name: str, metric: str) -> str:
    value, change = report.scores[name][metric]
    before = report.scores[report.names[0]][metric][0]
    space = {"vendi.histogram": " by colours", "vendi.pixels": " at 8 by 8 pixels"}.get(metric, "")
    return (
        f"Of {report.pictures} pictures {number(value.value)} count as different{space} (Vendi "
        f"score), in place of {number(before.value)}: {_spread(change)}."
    )


def _of_captions(change: Interval | None, words: str) -> str:
    if change is None:
        return ""
    kept = (
        "Pictures keep to the caption as well as before"
        if change.high >= 0
        else ("Pictures keep to the caption less well")
    )
    return f"{kept}: {words} changes by {_spread(change)}."


def _spread(change: Interval | None) -> str:
    if change is None:
        return "no difference is known"
    value = number(change.value, "+")
    if not change.known:
        return f"{value} (no interval)"
    return f"{value} (95 % interval {number(change.low, '+')} to {number(change.high, '+')})"


def render_folders(report: FoldersReport) -> str:
    """Write the page."""
    titles = TITLES | OWN_TITLES
    found = {metric for scores in report.scores.values() for metric in scores}
    return render_template(
        "folders.html",
        title=f"Kaleido report: {' against '.join(report.names)}",
        report=report,
        answers=answers(report),
        grids=[_grid(*item) for item in islice(report.shown.items(), CAPTIONS)],
        header=_header(report.names),
        rows=[(*titles[m], _cells(report, m)) for m in titles if m in found],
        captions=[(caption or "(none)", count) for caption, count in report.captions.items()],
        folders=list(zip(report.names, report.folders, strict=True)),
    )


def _header(names: Sequence[str]) -> list[str]:
    header = ["Metric", names[0]]
    for name in names[1:]:
        header += [name, f"{name} minus {names[0]}"]
    return header


def _cells(report: FoldersReport, metric: str) -> list[tuple[Interval | None, str]]:
    """Return intervals and the sign with which each is written, in the order of the header."""
    cells: list[tuple[Interval | None, str]] = []
    for place, name in enumerate(report.names):
        value, change = report.scores[name].get(metric, (None, None))
        cells += [(value, ""), (change, "+")] if place else [(value, "")]
    return cells


def _grid(caption: str, strips: Sequence[tuple[str, Sequence[np.ndarray]]]) -> dict[str, Any]:
    rows = [
        {
            "name": name,
            "image": strip_of(np.stack([_square(picture) for picture in pictures])),
            "alt": f"{len(pictures)} pictures of {name}, for: {caption or 'no caption'}",
        }
        for name, pictures in strips
    ]
    return {"caption": caption or "(no caption)", "strips": rows}


def _square(picture: np.ndarray) -> np.ndarray:
    """Fit a picture into a square, on grey."""
    image = Image.fromarray(picture)
    kind = Image.Resampling.NEAREST if max(image.size) < SIDE else Image.Resampling.LANCZOS
    return np.asarray(ImageOps.pad(image, (SIDE, SIDE), kind, color=(128, 128, 128)))
