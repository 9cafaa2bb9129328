"""Tell that a run is finished without reading data or weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.files import atomic_write, sha256_file
from pipelines.models.metadata import METADATA
from pipelines.train.checkpoint import load_state, require_same_run
from pipelines.train.loop import TrainSummary
from pipelines.train.options import TrainOptions

FINISHED = "finished.json"
"""Written beside a checkpoint when its model has been saved."""


def note_finished(checkpoint: Path, model: Path, summary: TrainSummary) -> None:
    """Note that a run's model has been saved.

    Args:
        checkpoint: The run's checkpoint folder.
        model: The saved model's folder.
        summary: What the run did.
    """
    note = {"step": summary.steps, "model": sha256_file(model / METADATA)}
    atomic_write(checkpoint.parent / FINISHED, json.dumps(note).encode())


def finished_run(
    checkpoint: Path, model: Path, settings: Mapping[str, Any], options: TrainOptions
) -> TrainSummary | None:
    """Return the summary of a run that has nothing left to do, or None.

    Args:
        checkpoint: The run's checkpoint folder.
        model: The folder of the model that it saves.
        settings: JSON values on which the weights depend.
        options: The run's options.

    Raises:
        KaleidoError: If the checkpoint belongs to other settings, see `require_same_run`.
    """
    state = load_state(checkpoint)
    if state is None:
        return None
    done = require_same_run(checkpoint, state, settings, options.steps)
    if done < options.steps:
        return None
    try:
        note = json.loads((checkpoint.parent / FINISHED).read_bytes())
        if note != {"step": done, "model": sha256_file(model / METADATA)}:
            return None
    except (OSError, ValueError, RecursionError):
        return None
    return TrainSummary(done, done * options.batch_size, math.nan, done)
