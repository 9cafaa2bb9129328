"""The report's numbers for trackers of experiments: TensorBoard, trackio."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pipelines.core.errors import KaleidoError, nearest
from pipelines.core.extras import import_extra
from pipelines.core.files import replacing_folder

TRACKERS = {"tensorboard": "track", "trackio": "trackio"}
"""By name, the extra that installs it."""

STEPS = 100
"""Steps for one unit of the guidance scale: trackers count in whole numbers only."""

Rows = Sequence[Mapping[str, Any]]
Points = Mapping[int, Mapping[str, float]]
"""Step -> metric -> value."""


def require_tracker(name: str) -> None:
    """Check, before any work, that a tracker is known and installed.

    Raises:
        KaleidoError: If it is not.
    """
    if name not in TRACKERS:
        raise KaleidoError(f"--track {name}", "it is not known.", nearest(name, TRACKERS))
    import_extra(name, TRACKERS[name])


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
    write = {"tensorboard": _tensorboard, "trackio": _trackio}[name]
    write(dict(_runs(rows)), folder, report)


def _runs(rows: Rows) -> Iterator[tuple[str, Points]]:
    """Each model's points; real pictures, which know no guidance, have the one step 0."""
    for model in dict.fromkeys(row["model"] for row in rows):
        points: dict[int, dict[str, float]] = {}
        for row in rows:
            if row["model"] == model and math.isfinite(row["value"]):
                step = round(STEPS * (row["cfg"] or 0.0))
                points.setdefault(step, {})[row["metric"]] = row["value"]
        yield model, points


def _tensorboard(runs: Mapping[str, Points], folder: Path, report: str) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with replacing_folder(folder / "tensorboard") as fresh:
        for model, points in runs.items():
            with SummaryWriter(str(fresh / model)) as writer:
                for step, values in sorted(points.items()):
                    for metric, value in values.items():
                        writer.add_scalar(metric, value, step)


def _trackio(runs: Mapping[str, Points], folder: Path, report: str) -> None:
    trackio = import_extra("trackio", TRACKERS["trackio"])

    with redirect_stdout(sys.stderr):  # where its messages go, and leave --json alone
        for model, points in runs.items():
            trackio.init(project=report, name=model, auto_log_cpu=False, auto_log_gpu=False)
            for step, values in sorted(points.items()):
                trackio.log(dict(values), step=step)
            trackio.finish()
