"""`kaleido evaluate --pictures`: which of several folders of pictures is more varied."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write
from pipelines.core.progress import SILENT, Progress
from pipelines.evaluate.folders.judge import Judge
from pipelines.evaluate.folders.measure import (
    MANY,
    Group,
    difference,
    measure_group,
    score_interval,
)
from pipelines.evaluate.folders.read import PictureFolder, read_picture_folder
from pipelines.evaluate.metrics.plain_features import SPACES
from pipelines.evaluate.metrics.statistics import Interval
from pipelines.evaluate.networks import PretrainedFeatures
from pipelines.evaluate.report.folders_page import FoldersReport, answers, render_folders
from pipelines.evaluate.report.rows import finite, full_name
from pipelines.workspace.workspace import Workspace

SHOWN = 8
"""Pictures of each caption and folder that the report shows."""

LEAST = 2
"""Pictures that a caption needs in every folder."""


@dataclass(frozen=True)
class FoldersSummary:
    """What was written.

    Attributes:
        report: The HTML page.
        json: The same numbers for programs.
        answers: For each folder after the first, whether it is more varied, in words.
        warnings: Reasons to trust the numbers less.
        rows: As in ``report.json``.
    """

    report: Path
    json: Path
    answers: list[str]
    warnings: list[str]
    rows: list[dict[str, Any]]


def compare_folders(
    workspace: Workspace,
    folders: Sequence[str],
    name: str = "evaluation",
    most: int | None = None,
    progress: Progress = SILENT,
    detects: bool = False,
) -> FoldersSummary:
    """Compare folders of pictures, and write ``reports/NAME/index.html`` with its twin in JSON.

    Only captions that all folders have are compared, with equally many pictures of each: the first.

    Args:
        workspace: Where names below ``samples`` are looked for, and the report is written; its
            ``evaluate.features`` names a network, if pictures are to be compared in its features.
        folders: Two or more, the one to compare with first; see `read_picture_folder`.
        name: The report's folder; an earlier report there is replaced.
        most: Most pictures of a caption; None for all.
        progress: Listener.
        detects: Look for what captions and z ask for with the detector of ``[extract]``.

    Raises:
        KaleidoError: If a folder cannot be read, or no caption has two pictures in all of them.
    """
    paths = [_path_of(workspace, each) for each in folders]
    if len({path.resolve() for path in paths}) < len(paths) or len(paths) < LEAST:
        why = "comparing takes two different folders."
        raise KaleidoError("--pictures", why, "Name each one once.", code="bad-option")
    limit = workspace.settings.data.max_caption
    names = _names(paths)
    read = [read_picture_folder(*pair, limit, progress) for pair in zip(paths, names, strict=True)]
    counts = _shared(read, most)
    features = workspace.settings.evaluate.features
    network = PretrainedFeatures(features) if features else None
    judge = Judge(workspace) if detects else None
    seen = _measured(read, counts, network, judge, progress)
    report = FoldersReport(
        names=names,
        folders=[str(path) for path in paths],
        captions=counts,
        features=network.name if network else "",
        scores={
            folder.name: {
                metric: (score_interval(groups, metric), _against(groups, seen[0], metric))
                for metric in _metrics(groups)
            }
            for folder, groups in zip(read, seen, strict=True)
        },
        warnings=_warnings(read, counts, network is not None),
        shown={
            caption: [(name, groups[place].shown) for name, groups in zip(names, seen, strict=True)]
            for place, caption in enumerate(counts)
        },
        command=_command(folders, features, name, most, detects),
    )
    folder = workspace.reports(name)
    rows = rows_of(report)
    with workspace.lock(f"reports/{name}"):
        atomic_write(folder / "report.json", _json(report, rows))
        atomic_write(folder / "index.html", render_folders(report).encode())
    return FoldersSummary(
        folder / "index.html", folder / "report.json", answers(report), report.warnings, rows
    )


def _path_of(workspace: Workspace, name: str) -> Path:
    """Return the folder of this path, or else the samples of this name."""
    path = Path(name)
    if path.is_dir() or path.is_absolute() or len(path.parts) != 1:
        return path
    samples = workspace.samples(name)
    return samples if samples.is_dir() else path


def _names(paths: Sequence[Path]) -> list[str]:
    """Name folders by their last part, or by more of it where two are equal."""
    names = [path.resolve().name for path in paths]
    if len(set(names)) == len(names):
        return names
    return [str(path) for path in paths]


def _shared(read: Sequence[PictureFolder], most: int | None) -> dict[str, int]:
    """Return the captions that all folders have, with how many pictures of each are compared."""
    counts = {}
    for caption in read[0].groups:
        found = [len(each.groups.get(caption, ())) for each in read]
        count = min([*found, *([] if most is None else [most])])
        if count >= LEAST:
            counts[caption] = count
    if not counts:
        raise KaleidoError(
            "--pictures",
            "no caption has two pictures in every folder.",
            "Draw the same captions into each, or leave out all captions to compare the folders "
            "as they are.",
            code="not-comparable",
        )
    return counts


def _measured(
    read: Sequence[PictureFolder],
    counts: Mapping[str, int],
    network: PretrainedFeatures | None,
    judge: Judge | None,
    progress: Progress,
) -> list[list[Group]]:
    """Measure the groups of every folder, in the order of the captions."""
    captions = list(counts)
    texts: Sequence[np.ndarray | None] = [None] * len(captions)
    if network is not None and network.reads_text and all(captions):
        texts = list(network.texts(captions))
    seen = []
    with progress.task("pictures", len(read) * sum(counts.values()), "picture") as advance:
        for folder in read:
            groups = []
            for caption, text in zip(captions, texts, strict=True):
                pictures = folder.groups[caption][: counts[caption]]
                groups.append(measure_group(pictures, network, text, SHOWN, judge))
                advance(len(pictures))
            seen.append(groups)
    return seen


def _metrics(groups: Sequence[Group]) -> list[str]:
    """Return the metrics that some caption has."""
    return list(dict.fromkeys(metric for group in groups for metric in group.scores))


def _against(groups: Sequence[Group], first: Sequence[Group], metric: str) -> Interval | None:
    """Return the difference from the first folder; None for itself, and for what it has not."""
    if groups is first or not any(metric in group.scores for group in first):
        return None
    return difference(groups, first, metric)


def _warnings(
    read: Sequence[PictureFolder], counts: Mapping[str, int], has_network: bool
) -> list[str]:
    found = []
    if not has_network:
        found.append(
            "No feature network is named, so pictures are compared by their colours and at 8 by 8 "
            "pixels, which do not see what they show. Name one: --features facebook/dinov2-base, "
            "or a CLIP model, which also tells whether pictures keep to their caption."
        )
    for each in read[1:]:
        differing = [
            f"{key.rpartition('.')[2]} ({read[0].made[key]} and {value})"
            for key, value in each.made.items()
            if key in read[0].made and read[0].made[key] != value
        ]
        if differing:
            found.append(
                f"{read[0].name} and {each.name} differ in more than z: {', '.join(differing)}."
            )
    left = {caption for each in read for caption in each.groups} - set(counts)
    if left:
        found.append(
            f"{len(left):,} captions are left out: they have no two pictures in every folder."
        )
    cut = sum(
        len(each.groups[caption]) - count for caption, count in counts.items() for each in read
    )
    if cut:
        found.append(
            f"{cut:,} pictures are left out, as diversity grows with their number: of each caption "
            "equally many count, the first."
        )
    if len(counts) < MANY:
        found.append(
            f"With fewer than {MANY} captions the intervals are for these captions alone: they "
            "tell what other pictures of them would give, not what other captions would."
        )
    return found


def rows_of(report: FoldersReport) -> list[dict[str, Any]]:
    """One row a folder and metric."""
    return [
        {
            "folder": name,
            "metric": _full_name(metric, report.features),
            **asdict(interval),
            "difference": None if change is None else asdict(change),
            "n": sum(report.captions.values()),
        }
        for name, scores in report.scores.items()
        for metric, (interval, change) in scores.items()
    ]


def _full_name(metric: str, features: str) -> str:
    """Name a metric with the feature space on which it depends, if it does."""
    in_space = metric in ("vendi", "mss", "clip") or metric.rpartition(".")[2] in SPACES
    return full_name(metric, features) if in_space else metric


def _json(report: FoldersReport, rows: list[dict[str, Any]]) -> bytes:
    content = {
        "version": 1,
        "folders": dict(zip(report.names, report.folders, strict=True)),
        "captions": report.captions,
        "features": report.features or None,
        "answers": answers(report),
        "warnings": report.warnings,
        "command": report.command,
        "rows": rows,
    }
    return json.dumps(finite(content), indent=1, ensure_ascii=False, allow_nan=False).encode()


def _command(
    folders: Sequence[str], features: str, name: str, most: int | None, detects: bool
) -> str:
    named = "".join(f" --pictures {shlex.quote(each)}" for each in folders)
    network = f" --features {shlex.quote(features)}" if features else ""
    look = " --detect" if detects else ""
    number = "" if most is None else f" --n {most}"
    return f"kaleido evaluate{named}{network}{number}{look} --name {shlex.quote(name)}"
