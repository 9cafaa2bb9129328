"""The log of a run: losses on the progress line and in ``log.jsonl``."""

from __future__ import annotations

import json
import math
import sys
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import torch

from pipelines.core.errors import KaleidoError
from pipelines.core.files import atomic_write, no_space_errors
from pipelines.train.options import TrainOptions
from pipelines.train.track import Tracker, open_tracker

LOG_EVERY = 10
"""Steps between two lines of the log; reading the loss synchronises the GPU."""

LOG_FILE = "log.jsonl"

WINDOW = 100
"""Steps whose mean loss is reported."""

_KEYS_SHOWN = 8


class _Row(NamedTuple):
    step: int
    loss: float
    norm: float


class TrainLog:
    """The losses of a run.

    Values stay on the device until they are read, because reading one waits for its step.

    Args:
        path: The ``log.jsonl`` of the run; a resumed run appends to it. None writes nothing.
        name: What is trained, for messages.
        options: The run's options.
        first: The step at which the run begins; later lines, of a run that crashed, are removed.
        keys: Returns the keys of the records in a batch, see `Task.keys`.
    """

    def __init__(
        self,
        path: Path | None,
        name: str,
        options: TrainOptions,
        first: int,
        keys: Callable[[int, int], list[str]],
    ) -> None:
        self._path, self._name, self._options, self._keys = path, name, options, keys
        self._first = first
        self._unread: list[tuple[int, torch.Tensor]] = []
        self._window: deque[float] = deque(maxlen=WINDOW)
        self._line_at = monotonic()
        self._tracker: Tracker | None = None
        if path is not None:
            _truncate(path, first)
            if options.track:
                project, folder = path.parents[2].name or name, path.parent / options.track
                self._tracker = open_tracker(options.track, folder, project, name, first)

    def add(self, step: int, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """Add the loss of a step and the norm of its gradient."""
        self._unread.append((step, torch.stack([loss.detach().float(), norm.float()])))

    @property
    def mean(self) -> float:
        """The mean loss of the last `WINDOW` steps that were read; NaN if there is none."""
        return sum(self._window) / len(self._window) if self._window else math.nan

    def write_if_due(self, step: int) -> None:
        """Write a line every `LOG_EVERY` steps, and after each of the first ones."""
        if step < self._first + LOG_EVERY or step % LOG_EVERY == 0:
            self.write()

    def write(self) -> None:
        """Read the losses since the last line and write them as one line.

        Raises:
            KaleidoError: ``diverged``, if one of them is not finite.
        """
        if not self._unread:
            return
        values = torch.stack([value for _, value in self._unread]).tolist()
        rows = [_Row(step, *value) for (step, _), value in zip(self._unread, values, strict=True)]
        self._unread.clear()
        for row in rows:
            self._require_finite(row)
        self._window.extend(row.loss for row in rows)
        now, size = monotonic(), self._options.batch_size
        line = {
            "step": rows[-1].step + 1,
            "loss": sum(row.loss for row in rows) / len(rows),
            "learning_rate": self._options.rate(rows[-1].step),
            "gradient_norm": sum(row.norm for row in rows) / len(rows),
            "images_seen": (rows[-1].step + 1) * size,
            "images_per_second": round(len(rows) * size / max(now - self._line_at, 1e-9), 2),
            "memory_mb": _memory_mb(),
        }
        self._line_at = now
        self._write_line(line)

    def write_validation(self, done: int, loss: float, records: int) -> None:
        """Write the loss on held-out records after `done` steps."""
        self._write_line({"step": done, "validation_loss": loss, "validation_records": records})

    def close(self) -> None:
        """End the tracker's run."""
        if self._tracker is not None:
            self._tracker.close()

    def _write_line(self, line: Mapping[str, float | None]) -> None:
        if self._tracker is not None:
            numbers = {k: v for k, v in line.items() if k != "step" and v is not None}
            self._tracker.log(int(line["step"] or 0), numbers)
        if self._path is None:
            return
        with no_space_errors(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def _require_finite(self, row: _Row) -> None:
        for name, value in (("loss", row.loss), ("gradient's norm", row.norm)):
            if not math.isfinite(value):
                size = self._options.batch_size
                keys = self._keys(row.step * size, size)
                shown = ", ".join(keys[:_KEYS_SHOWN]) + " …" * (len(keys) > _KEYS_SHOWN)
                raise KaleidoError(
                    self._name,
                    f"the {name} is {value} at step {row.step + 1:,}"
                    + (f", a batch of the records {shown}." if keys else "."),
                    "Lower --learning-rate and train with --restart, or check these records. The "
                    "checkpoint of an earlier step, if there is one, is kept.",
                    code="diverged",
                )


def _truncate(path: Path, first: int) -> None:
    """Keep the lines of the steps before `first`."""
    if not path.exists():
        return
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if 0 < _step(line) <= first]
    if kept != lines:
        atomic_write(path, b"".join(kept))


def _step(line: bytes) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError, RecursionError):  # cut off when the disk was full, say
        return 0


def _memory_mb() -> int | None:
    """Return the peak memory in MB, of the GPU if there is one, or None where it is unknown."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak / 1e3)
