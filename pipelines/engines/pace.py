"""How fast the last run went: what `--dry-run` estimates time and memory from."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.core.files import atomic_write
from pipelines.workspace.workspace import Workspace


@dataclass(frozen=True)
class Pace:
    """What a finished pass over shards took.

    Attributes:
        records: Computed.
        seconds: From the first to the last, loading of models included.
        workers: Local processes.
        memory: Largest resident memory of one process in bytes, 0 where it is not known.
    """

    records: int
    seconds: float
    workers: int
    memory: int

    def seconds_for(self, records: int, workers: int) -> float:
        """Time for other numbers, if processes do not slow each other."""
        return self.seconds * records / self.records * self.workers / workers


def write_pace(workspace: Workspace, kinds: Sequence[str], pace: Pace) -> None:
    """Keep the pace of a pass that computed some kinds together."""
    atomic_write(_path(workspace, kinds), json.dumps(asdict(pace), indent=1).encode() + b"\n")


def read_pace(workspace: Workspace, kinds: Sequence[str]) -> Pace | None:
    """The last pace of a pass of these kinds, or None if none is known."""
    try:
        pace = Pace(**json.loads(_path(workspace, kinds).read_bytes()))
        return pace if pace.records > 0 and pace.workers > 0 else None
    except (OSError, ValueError, TypeError):
        return None  # an estimate is no reason to stop


def peak_memory(of_children: bool) -> int:
    """Largest resident memory so far, in bytes, of this process or of its largest ended child."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    who = resource.RUSAGE_CHILDREN if of_children else resource.RUSAGE_SELF
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(who).ru_maxrss * unit


def _path(workspace: Workspace, kinds: Sequence[str]) -> Path:
    return workspace.logs / "extract" / f"{'-'.join(kinds)}.json"
