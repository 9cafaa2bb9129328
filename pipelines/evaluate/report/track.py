"""The report's numbers for trackers of experiments: TensorBoard, trackio."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipelines.core.files import replacing_folder
from pipelines.train.track import open_tracker, require_tracker

STEPS = 100
"""Steps for one unit of the guidance scale: trackers count in whole numbers only."""

Rows = Sequence[Mapping[str, Any]]
Points = Mapping[int, Mapping[str, float]]
"""Step -> metric -> value."""


def track(name: str, rows: Rows, folder: Path, report: str) -> None:
    """Write a report's rows as scalars: a run a model, a step a guidance scale.

    Args:
        name: One of `TRACKERS`. TensorBoard's files replace those in ``FOLDER/tensorboard``;
            trackio has a place of its own.
        rows: As in ``report.json``; values that are not finite are left out.
        folder: The report's.
        report: Its name, trackio's project.

    Raises:
        KaleidoError: If the tracker is not known or not installed.
    """
    require_tracker(name)
    with ExitStack() as stack:
        place = folder / name
        if name == "tensorboard":
            place = stack.enter_context(replacing_folder(place))
        for model, points in _runs(rows):
            tracker = open_tracker(name, place / model, report, model)
            for step, values in sorted(points.items()):
                tracker.log(step, values)
            tracker.close()


def _runs(rows: Rows) -> Iterator[tuple[str, Points]]:
    """Each model's points; real pictures, which know no guidance, have the one step 0."""
    for model in dict.fromkeys(row["model"] for row in rows):
        points: dict[int, dict[str, float]] = {}
        for row in rows:
            if row["model"] == model and math.isfinite(row["value"]):
                step = round(STEPS * (row["cfg"] or 0.0))
                points.setdefault(step, {})[row["metric"]] = row["value"]
        yield model, points
