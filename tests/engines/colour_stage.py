"""Stages that really compute something small, and a program that runs one of them.

They are in a file of their own so that spawned workers can import them, and so that a test can kill
a whole process.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.core.record import Record
from pipelines.core.stage import Filtered, Ok, Outcome, Stage, StageGroup, StageSpec
from pipelines.engines import run as engines_run
from pipelines.engines.local import LocalEngine
from pipelines.engines.run import RunSummary
from pipelines.latents.palette import Colour, Palette
from pipelines.workspace.workspace import Workspace


class MeanColour(Stage):
    """The palette of an image's mean colour; captions that start with a word misbehave.

    Args:
        version: The stage's version.
        delay: Seconds that each batch takes.
    """

    def __init__(self, version: int = 1, delay: float = 0.0) -> None:
        self.spec = StageSpec("mean-colour", version, "palette", batch_size=2)
        self.delay = delay
        self.calls: list[list[str]] = []

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        time.sleep(self.delay)
        self.calls.append([record.key for record in records])
        return [self._one(record) for record in records]

    def _one(self, record: Record) -> Outcome:
        match record.caption.partition(" ")[0]:
            case "raise":
                raise ValueError("odd")
            case "nothing":
                return Filtered("no colour")
            case "invalid":
                return Ok(Palette(()))
            case "die":
                os._exit(9)
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
        red, green, blue = record.pixels.reshape(-1, 3).mean(axis=0).astype(int)
        return Ok(Palette((Colour.from_hex(f"#{red:02x}{green:02x}{blue:02x}", 1000),)))


class Unreadable(MeanColour):
    """It reaches a worker as a module that is not there."""

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, ("no_such_module",)


class PaletteAgain(Stage):
    """Another kind made from the palette: blobs, which nothing here ever finds."""

    spec = StageSpec("again", 1, "blobs", inputs=("palette",), batch_size=4)

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        return [Filtered(record.latents["palette"].items[0].hex) for record in records]


def run_stages(
    workspace: Workspace, stages: Sequence[StageGroup], workers: int = 1, **kwargs: Any
) -> list[RunSummary]:
    """Run stages on this machine."""
    return engines_run.run_stages(workspace, stages, LocalEngine(workers), **kwargs)


def run_stage(workspace: Workspace, stage: Stage, *args: Any, **kwargs: Any) -> RunSummary:
    """Run one stage alone."""
    (summary,) = run_stages(workspace, [stage], *args, **kwargs)
    return summary


def main() -> None:
    """Run `MeanColour` over a workspace."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--delay", type=float, default=0.0)
    options = parser.parse_args()
    workspace = Workspace.find(explicit=options.workspace)
    run_stage(workspace, MeanColour(delay=options.delay), options.workers)


if __name__ == "__main__":
    main()
