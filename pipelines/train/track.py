"""Trackers of experiments, which draw curves of numbers: TensorBoard, trackio."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from pipelines.core.errors import KaleidoError, nearest
from pipelines.core.extras import import_extra

TRACKERS = {"tensorboard": "track", "trackio": "trackio"}
"""By name, the extra that installs it."""


def require_tracker(name: str) -> None:
    """Check, before any work, that a tracker is known and installed.

    Raises:
        KaleidoError: If it is not.
    """
    if name not in TRACKERS:
        raise KaleidoError(f"--track {name}", "it is not known.", nearest(name, TRACKERS))
    import_extra(name, TRACKERS[name])


class Tracker(ABC):
    """Receives the numbers of one run."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers by name."""

    @abstractmethod
    def close(self) -> None:
        """End the run."""


def open_tracker(
    name: str, folder: Path, project: str, run: str, first: int | None = None
) -> Tracker:
    """Begin a run, or go on with it.

    Args:
        name: One of `TRACKERS`.
        folder: TensorBoard's files; trackio has a place of its own.
        project: trackio's project.
        run: trackio's name of the run.
        first: The last step of the run that goes on; None for one that begins.

    Raises:
        KaleidoError: If the tracker is not known or not installed.
    """
    require_tracker(name)
    if name == "tensorboard":
        return _TensorBoard(folder, first)
    return _Trackio(project, run, first)


class _TensorBoard(Tracker):
    def __init__(self, folder: Path, first: int | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # Later steps, of a run that crashed, are hidden.
        self._writer = SummaryWriter(str(folder), purge_step=None if first is None else first + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Trackio(Tracker):
    def __init__(self, project: str, run: str, first: int | None) -> None:
        self._module = import_extra("trackio", TRACKERS["trackio"])
        more: dict[str, Any] = {} if first is None else {"resume": "allow"}
        with redirect_stdout(sys.stderr):  # where its messages go, and leave --json alone
            self._module.init(
                project=project, name=run, auto_log_cpu=False, auto_log_gpu=False, **more
            )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        with redirect_stdout(sys.stderr):
            self._module.log(dict(values), step=step)

    def close(self) -> None:
        with redirect_stdout(sys.stderr):
            self._module.finish()
