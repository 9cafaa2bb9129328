"""How fast the last run was: the base of the estimate of `--dry-run`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.core.files import atomic_write
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class Pace:
    """How long a finished pass over shards took.

    Attributes:
        records: How many were computed.
        seconds: From the first to the last, loading of models included.
        workers: Processes.
    """

    records: int
    seconds: float
    workers: int

    def seconds_for(self, records: int, workers: int) -> float:
        """Estimate the time for other numbers, assuming that processes do not slow each other."""
        return self.seconds * records / self.records * self.workers / workers


def write_pace(workspace: Workspace, kinds: Sequence[str], pace: Pace) -> None:
    """Keep the pace of a pass that computed some kinds together."""
    atomic_write(_path(workspace, kinds), json.dumps(asdict(pace), indent=1).encode() + b"\n")


def read_pace(workspace: Workspace, kinds: Sequence[str]) -> Pace | None:
    """Return the last pace of a pass of these kinds, or None if none is known."""
    try:
        found = json.loads(_path(workspace, kinds).read_bytes())
        pace = Pace(int(found["records"]), float(found["seconds"]), int(found["workers"]))
        return pace if pace.records > 0 and pace.workers > 0 else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None  # a missing estimate is no reason to stop


def _path(workspace: Workspace, kinds: Sequence[str]) -> Path:
    return workspace.logs / "extract" / f"{'-'.join(kinds)}.json"
